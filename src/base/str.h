/* Slices of text that somebody else owns, and the small parsers that configuration needs. */
#ifndef PH_BASE_STR_H
#define PH_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* Not terminated; ptr is NULL for "absent", which is not the same as empty. */
struct ph_str {
    const char *ptr;
    size_t len;
};

#define PH_STR(literal) ((struct ph_str){(literal), sizeof(literal) - 1})

/* For printf's "%.*s". */
#define PH_STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct ph_str ph_str_from(const char *text)
{
    return (struct ph_str){text, text ? strlen(text) : 0};
}

static inline bool ph_str_eq(struct ph_str a, struct ph_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool ph_str_is(struct ph_str a, const char *text)
{
    return ph_str_eq(a, ph_str_from(text));
}

static inline bool ph_str_starts(struct ph_str a, struct ph_str prefix)
{
    return prefix.len == 0 || (a.len >= prefix.len && memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

/* Whole slice as a decimal number; false when it is not one or does not fit. */
bool ph_str_i64(struct ph_str s, int64_t *out) PH_MUST_CHECK;
bool ph_str_u64(struct ph_str s, uint64_t *out) PH_MUST_CHECK;
/* "250us", "100ms", "5s", "2m", "1h", "7d" as milliseconds (rounded up); a unit is required unless
 * it is 0. */
bool ph_str_duration_ms(struct ph_str s, int64_t *out) PH_MUST_CHECK;
/* "1000", "64KiB", "16MiB", "1GiB", "10kB", "5MB" as bytes. */
bool ph_str_size(struct ph_str s, int64_t *out) PH_MUST_CHECK;
/* "true/false", "yes/no", "on/off", "1/0". */
bool ph_str_bool(struct ph_str s, bool *out) PH_MUST_CHECK;

/* The scheme of "scheme:rest" (letters, digits, '+', '-', '.', a letter first); ptr NULL when there
 * is none. */
struct ph_str ph_str_scheme(struct ph_str uri);

/* Shell-like pattern over the whole text: '*' any run, '?' one byte, everything else itself. Linear
 * in pattern times text, no recursion. */
bool ph_str_glob(struct ph_str pattern, struct ph_str text);

/* Whether the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool ph_str_utf8(struct ph_str s);
/* The length (1 to 4) of the well-formed UTF-8 character that starts at offset at; 0 when none
 * does. */
size_t ph_str_utf8_at(struct ph_str s, size_t at);

/* Number of single-character edits between two short names (capped at 64 characters each), for "did
 * you mean". */
unsigned ph_str_distance(struct ph_str a, struct ph_str b);

/* A multiply-and-fold hash, eight bytes a step: for hash tables and order checks inside one
 * process. Not for secrets, and never stored: the value may change between versions and machines.
 */
uint64_t ph_str_hash(struct ph_str s);

#endif
