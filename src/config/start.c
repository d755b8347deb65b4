/*
 * The option `start`: where a pipeline without a checkpoint begins.
 * Place: called by settings once all assignments are in.
 * Promise: a time without a zone is refused, since the reader's and the server's zones may differ.
 */
#include "config/settings.h"

struct civil {
    int64_t year, month, day, hour, minute, second, micros, offset_minutes;
};

static bool digits(struct ph_str text, size_t at, size_t count, int64_t *out)
{
    if (at + count > text.len) {
        return false;
    }
    int64_t value = 0;
    for (size_t i = at; i < at + count; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        value = value * 10 + (text.ptr[i] - '0');
    }
    *out = value;
    return true;
}

static char at_or_nul(struct ph_str text, size_t at)
{
    return at < text.len ? text.ptr[at] : '\0';
}

/* ".123456", up to nine digits, of which six count. */
static size_t read_fraction(struct ph_str text, size_t at, int64_t *micros)
{
    *micros = 0;
    if (at_or_nul(text, at) != '.') {
        return at;
    }
    int64_t unit = 100000, digit;
    size_t from = at + 1;
    for (at = from; at < from + 9 && digits(text, at, 1, &digit); at++) {
        *micros += digit * unit;
        unit /= 10;
    }
    return at == from ? text.len + 1 : at;
}

/* "Z" or "+02:00" up to the end of the text. */
static bool read_zone(struct ph_str text, size_t at, int64_t *offset_minutes)
{
    char sign = at_or_nul(text, at);
    if (sign == 'Z' || sign == 'z') {
        *offset_minutes = 0;
        return at + 1 == text.len;
    }
    int64_t hours, minutes = 0;
    if ((sign != '+' && sign != '-') || !digits(text, at + 1, 2, &hours)) {
        return false;
    }
    at += 3;
    if (at < text.len) {
        at += text.ptr[at] == ':';
        if (!digits(text, at, 2, &minutes)) {
            return false;
        }
        at += 2;
    }
    *offset_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    return at == text.len && hours <= 23 && minutes <= 59;
}

static int64_t days_in_month(const struct civil *t)
{
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = t->year % 4 == 0 && (t->year % 100 != 0 || t->year % 400 == 0);
    return t->month == 2 && leap ? 29 : days[t->month - 1];
}

static bool in_range(const struct civil *t)
{
    return t->year >= 1970 && t->month >= 1 && t->month <= 12 && t->day >= 1 &&
           t->day <= days_in_month(t) && t->hour <= 23 && t->minute <= 59 && t->second <= 59;
}

/* Days since 1970-01-01, counting years from March so that the leap day is their last. */
static int64_t days_since_epoch(const struct civil *t)
{
    int64_t year = t->month <= 2 ? t->year - 1 : t->year;
    int64_t month = (t->month + 9) % 12;
    int64_t day_of_year = (153 * month + 2) / 5 + t->day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

static bool read_date(struct ph_str text, struct civil *t)
{
    return digits(text, 0, 4, &t->year) && at_or_nul(text, 4) == '-' &&
           digits(text, 5, 2, &t->month) && at_or_nul(text, 7) == '-' &&
           digits(text, 8, 2, &t->day);
}

/* "04:28" or "04:28:09.5" from *at on, which moves behind it. */
static bool read_clock(struct ph_str text, size_t *at, struct civil *t)
{
    if (!digits(text, *at, 2, &t->hour) || at_or_nul(text, *at + 2) != ':' ||
        !digits(text, *at + 3, 2, &t->minute)) {
        return false;
    }
    *at += 5;
    if (at_or_nul(text, *at) != ':') {
        return true;
    }
    bool good = digits(text, *at + 1, 2, &t->second);
    *at = read_fraction(text, *at + 3, &t->micros);
    return good && *at <= text.len;
}

static bool read_civil(struct ph_str text, struct civil *t)
{
    char between = at_or_nul(text, 10);
    size_t at = 11;
    return read_date(text, t) && (between == 'T' || between == 't' || between == ' ') &&
           read_clock(text, &at, t) && read_zone(text, at, &t->offset_minutes) && in_range(t);
}

static bool parse_time(struct ph_str text, int64_t *out_us)
{
    struct civil t = {0};
    if (!read_civil(text, &t)) {
        return false;
    }
    int64_t minutes = days_since_epoch(&t) * 1440 + t.hour * 60 + t.minute - t.offset_minutes;
    *out_us = (minutes * 60 + t.second) * 1000000 + t.micros;
    return true;
}

int ph_start_parse(struct ph_str text, struct ph_start *out, struct ph_error *err)
{
    struct ph_start start = {.kind = PH_START_EARLIEST};
    bool good = true;
    if (ph_str_is(text, "latest")) {
        start.kind = PH_START_LATEST;
    } else if (!ph_str_is(text, "earliest")) {
        start.kind = PH_START_TIME;
        good = parse_time(text, &start.time_us);
    }
    if (!good) {
        return ph_fail(err, PH_E_CONFIG,
                       "start: \"%.*s\" is not earliest, latest or a time with a zone such as "
                       "2026-11-21T04:28:09Z",
                       PH_STR_ARG(text));
    }
    *out = start;
    return 0;
}
