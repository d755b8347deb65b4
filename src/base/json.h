/*
 * JSON (RFC 8259) without a tree: a strict scanner that hands out slices of the text, so that
 * numbers and nested values keep their bytes, and a writer into a ph_buf.
 */
#ifndef PH_BASE_JSON_H
#define PH_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"

#define PH_JSON_DEPTH_MAX 128

/* Checks that text is exactly one JSON value, white space around it allowed. The error names the
 * byte offset. */
int ph_json_check(struct ph_str text, struct ph_error *err) PH_MUST_CHECK;

/* Walks the members of one object. The whole text is checked on the way: when next has returned 0,
 * the text was exactly one well-formed object. */
struct ph_json_walk {
    struct ph_str text;
    size_t at;
    bool started;
};

/* One member: name is the raw string without its quotes (escapes not resolved), value the raw value
 * without surrounding white space. Both are slices of the text. */
struct ph_json_member {
    struct ph_str name, value;
};

/* A walk over text. */
struct ph_json_walk ph_json_walk_object(struct ph_str text);
/* 1 and the next member; 0 at the end, again and again; PH_E_DATA with the byte offset when the
 * text is not an object. */
int ph_json_next(struct ph_json_walk *walk, struct ph_json_member *out,
                 struct ph_error *err) PH_MUST_CHECK;

/* Whether a raw value is a string / null / object. */
bool ph_json_is_string(struct ph_str value);
bool ph_json_is_null(struct ph_str value);
bool ph_json_is_object(struct ph_str value);

/* The text of a raw string value (with its quotes), escapes resolved, surrogate pairs joined.
 * Without escapes it is a slice of the input, else it lies in the arena. PH_E_DATA when it is no
 * string or holds a lone surrogate or \u0000; PH_E_NOMEM. */
int ph_json_string(struct ph_arena *arena, struct ph_str value, struct ph_str *out,
                   struct ph_error *err) PH_MUST_CHECK;
/* The same for a member name, which has no quotes. */
int ph_json_name(struct ph_arena *arena, struct ph_str name, struct ph_str *out,
                 struct ph_error *err) PH_MUST_CHECK;

/* Writes a quoted, escaped string. Bytes that are not UTF-8 become U+FFFD. */
void ph_json_put_string(struct ph_buf *buf, struct ph_str s);
/* Writes `"name":`, with a comma in front unless buf ends with '{'. name must need no escapes. */
void ph_json_put_name(struct ph_buf *buf, const char *name);
/* The two together. */
void ph_json_put_member(struct ph_buf *buf, const char *name, struct ph_str value);
void ph_json_put_member_i64(struct ph_buf *buf, const char *name, int64_t value);

#endif
