/*
 * Clocks through the replaceable table, and ISO 8601 text of a wall-clock time. The text is on the
 * hot path of every event, so it is made with arithmetic only and the date of the last day seen is
 * kept per thread. Promise: always PH_TIME_TEXT_LEN characters, whatever the number.
 */
#include "base/clock.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/sys.h"

#define SECOND_US INT64_C(1000000)
#define DAY_US    (INT64_C(86400) * SECOND_US)
#define DAY_MIN   INT64_C(-719162) /* 0001-01-01 */
#define DAY_MAX   INT64_C(2932896) /* 9999-12-31 */
#define DATE_LEN  10

struct day_text {
    int64_t day; /* since 1970-01-01 */
    char text[DATE_LEN];
};

static _Thread_local struct day_text last_day = {0, {"1970-01-01"}};

int64_t ph_clock_mono_us(void)
{
    return ph_sys.mono_us();
}

int64_t ph_clock_wall_us(void)
{
    return ph_sys.wall_us();
}

/* count digits of value, zeros in front. */
static inline void put_digits(char *out, unsigned value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The civil date of a day: years are counted from March, so that the leap day is the last one, in
 * cycles of 400 years (146097 days). */
static void format_date(int64_t day, char out[DATE_LEN])
{
    unsigned shifted = (unsigned)(day + 719468); /* since 0000-03-01 */
    unsigned cycle = shifted / 146097;
    unsigned in_cycle = shifted % 146097;
    unsigned year_of_cycle =
        (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    unsigned in_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    unsigned from_march = (5 * in_year + 2) / 153;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned year = cycle * 400 + year_of_cycle + (month <= 2);
    put_digits(out, year, 4);
    out[4] = '-';
    put_digits(out + 5, month, 2);
    out[7] = '-';
    put_digits(out + 8, in_year - (153 * from_march + 2) / 5 + 1, 2);
}

static int64_t clamp(int64_t wall_us)
{
    int64_t low = DAY_MIN * DAY_US;
    int64_t high = (DAY_MAX + 1) * DAY_US - 1;
    return wall_us < low ? low : wall_us > high ? high : wall_us;
}

void ph_time_format(int64_t wall_us, char out[PH_TIME_TEXT_LEN + 1])
{
    assert(out);
    wall_us = clamp(wall_us);
    int64_t day = wall_us / DAY_US - (wall_us % DAY_US < 0);
    int64_t in_day_us = wall_us - day * DAY_US;
    struct day_text *last = &last_day;
    if (last->day != day) {
        format_date(day, last->text);
        last->day = day;
    }
    unsigned second = (unsigned)(in_day_us / SECOND_US);
    memcpy(out, last->text, DATE_LEN);
    out[10] = 'T';
    put_digits(out + 11, second / 3600, 2);
    out[13] = ':';
    put_digits(out + 14, second / 60 % 60, 2);
    out[16] = ':';
    put_digits(out + 17, second % 60, 2);
    out[19] = '.';
    put_digits(out + 20, (unsigned)(in_day_us % SECOND_US), 6);
    out[26] = 'Z';
    out[27] = '\0';
}
