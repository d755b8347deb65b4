/* Internal to json.c and json_write.c: looking at eight bytes of a string at a time. */
#ifndef PH_BASE_JSON_BYTES_H
#define PH_BASE_JSON_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Whether one of eight bytes is a quote, a backslash, a control byte or not ASCII. Each term has a
 * byte's top bit set when that byte is zero or below the bound; a borrow from the byte before may
 * raise a false alarm, which costs time only. */
static inline bool ph__json_any_special(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t quote = (word ^ ones * '"') - ones;
    uint64_t backslash = (word ^ ones * '\\') - ones;
    uint64_t control = word - ones * 0x20;
    return ((quote | backslash | control | word) & ones * 0x80) != 0;
}

#endif
