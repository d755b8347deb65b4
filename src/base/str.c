/*
 * Looking at slices: glob match, UTF-8, edit distance, hash. All are pure functions of their
 * arguments, allocate nothing and take time linear in the text (glob: pattern times text).
 */
#include "base/str.h"

#include <assert.h>

#define DISTANCE_MAX 64

bool ph_str_glob(struct ph_str pattern, struct ph_str text)
{
    size_t p = 0, t = 0;
    size_t star = SIZE_MAX, star_text = 0; /* the last '*' and where its run ends so far */
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_text = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

static inline bool is_tail(const unsigned char *at)
{
    return (*at & 0xC0) == 0x80;
}

/* Three bytes from 0xE0 up: no overlong form, no surrogate. */
static bool is_three(const unsigned char *at)
{
    if (!is_tail(at + 1) || !is_tail(at + 2)) {
        return false;
    }
    return !(at[0] == 0xE0 && at[1] < 0xA0) && !(at[0] == 0xED && at[1] > 0x9F);
}

/* Four bytes from 0xF0 up: no overlong form, nothing above U+10FFFF. */
static bool is_four(const unsigned char *at)
{
    if (at[0] > 0xF4 || !is_tail(at + 1) || !is_tail(at + 2) || !is_tail(at + 3)) {
        return false;
    }
    return !(at[0] == 0xF0 && at[1] < 0x90) && !(at[0] == 0xF4 && at[1] > 0x8F);
}

size_t ph_str_utf8_at(struct ph_str s, size_t at)
{
    assert(at < s.len);
    const unsigned char *p = (const unsigned char *)s.ptr + at;
    size_t left = s.len - at;
    if (*p < 0x80) {
        return 1;
    }
    if (*p < 0xE0) {
        return *p >= 0xC2 && left >= 2 && is_tail(p + 1) ? 2 : 0;
    }
    if (*p < 0xF0) {
        return left >= 3 && is_three(p) ? 3 : 0;
    }
    return left >= 4 && is_four(p) ? 4 : 0;
}

static inline uint64_t load64(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t load32(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

bool ph_str_utf8(struct ph_str s)
{
    size_t at = 0;
    while (at < s.len) {
        if (s.len - at >= 8 && !(load64(s.ptr + at) & UINT64_C(0x8080808080808080))) {
            at += 8;
            continue;
        }
        size_t len = ph_str_utf8_at(s, at);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

/* Wagner and Fischer with one row: row[j] is the distance of a's first i bytes to b's first j. */
unsigned ph_str_distance(struct ph_str a, struct ph_str b)
{
    size_t a_len = a.len < DISTANCE_MAX ? a.len : DISTANCE_MAX;
    size_t b_len = b.len < DISTANCE_MAX ? b.len : DISTANCE_MAX;
    unsigned row[DISTANCE_MAX + 1];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

static inline uint64_t hash_step(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

/* The last up to eight bytes of the text; those of a longer one may have been seen already. */
static inline uint64_t hash_tail(const char *at, size_t len)
{
    if (len >= 8) {
        return load64(at + len - 8);
    }
    if (len >= 4) {
        return load32(at) << 32 | load32(at + len - 4);
    }
    if (len == 0) {
        return 0;
    }
    const unsigned char *byte = (const unsigned char *)at;
    return (uint64_t)byte[0] << 16 | (uint64_t)byte[len / 2] << 8 | byte[len - 1];
}

uint64_t ph_str_hash(struct ph_str s)
{
    assert(s.ptr || s.len == 0);
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ s.len * UINT64_C(0xD6E8FEB86659FD93);
    for (size_t at = 0; s.len - at > 8; at += 8) {
        hash = hash_step(hash, load64(s.ptr + at));
    }
    hash = hash_step(hash, hash_tail(s.ptr, s.len));
    hash = (hash ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    hash = (hash ^ hash >> 27) * UINT64_C(0x94D049BB133111EB);
    return hash ^ hash >> 31;
}
