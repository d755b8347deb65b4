/*
 * The small parsers that configuration needs: numbers, durations, sizes, switches. All of them read
 * the whole slice, take no white space and no plus sign, and refuse what does not fit instead of
 * wrapping. The output is written only on success.
 */
#include "base/str.h"

#include <assert.h>

struct unit {
    struct ph_str name;
    int64_t factor;
};

/* Reads digits from the front of s into *out; how many there were, 0 when none or too large. */
static size_t read_digits(struct ph_str s, uint64_t *out)
{
    uint64_t value = 0;
    size_t count = 0;
    for (; count < s.len && s.ptr[count] >= '0' && s.ptr[count] <= '9'; count++) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.ptr[count] - '0'), &value)) {
            return 0;
        }
    }
    *out = value;
    return count;
}

bool ph_str_u64(struct ph_str s, uint64_t *out)
{
    assert(out);
    uint64_t value;
    size_t count = read_digits(s, &value);
    if (count == 0 || count < s.len) {
        return false;
    }
    *out = value;
    return true;
}

bool ph_str_i64(struct ph_str s, int64_t *out)
{
    assert(out);
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t magnitude;
    if (!ph_str_u64(negative ? (struct ph_str){s.ptr + 1, s.len - 1} : s, &magnitude)) {
        return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

/* A number and one of the units, multiplied. */
static bool read_amount(struct ph_str s, const struct unit *units, size_t count, int64_t *out)
{
    uint64_t number;
    size_t digits = read_digits(s, &number);
    if (digits == 0) {
        return false;
    }
    struct ph_str name = {s.ptr + digits, s.len - digits};
    for (size_t i = 0; i < count; i++) {
        if (ph_str_eq(name, units[i].name)) {
            return !__builtin_mul_overflow(number, units[i].factor, out);
        }
    }
    return false;
}

bool ph_str_duration_ms(struct ph_str s, int64_t *out)
{
    static const struct unit units[] = {
        {{"ms", 2}, 1},      {{"s", 1}, 1000},     {{"m", 1}, 60000},
        {{"h", 1}, 3600000}, {{"d", 1}, 86400000},
    };
    static const struct unit micro[] = {{{"us", 2}, 1}};
    assert(out);
    int64_t value;
    uint64_t number;
    if (ph_str_u64(s, &number) && number == 0) {
        value = 0;
    } else if (read_amount(s, micro, 1, &value)) {
        value = value / 1000 + (value % 1000 > 0);
    } else if (!read_amount(s, units, sizeof units / sizeof *units, &value)) {
        return false;
    }
    *out = value;
    return true;
}

bool ph_str_size(struct ph_str s, int64_t *out)
{
    static const struct unit units[] = {
        {{"", 0}, 1},
        {{"kB", 2}, 1000},
        {{"MB", 2}, 1000000},
        {{"GB", 2}, 1000000000},
        {{"KiB", 3}, INT64_C(1) << 10},
        {{"MiB", 3}, INT64_C(1) << 20},
        {{"GiB", 3}, INT64_C(1) << 30},
    };
    assert(out);
    int64_t value;
    if (!read_amount(s, units, sizeof units / sizeof *units, &value)) {
        return false;
    }
    *out = value;
    return true;
}

bool ph_str_bool(struct ph_str s, bool *out)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    assert(out);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        for (int value = 0; value < 2; value++) {
            if (ph_str_is(s, words[i][value])) {
                *out = value == 1;
                return true;
            }
        }
    }
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_scheme_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

struct ph_str ph_str_scheme(struct ph_str uri)
{
    size_t len = 0;
    while (len < uri.len && is_scheme_char(uri.ptr[len])) {
        len++;
    }
    if (len == 0 || len == uri.len || uri.ptr[len] != ':' || !is_letter(uri.ptr[0])) {
        return (struct ph_str){NULL, 0};
    }
    return (struct ph_str){uri.ptr, len};
}
