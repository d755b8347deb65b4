/* Time text against the C library's own calendar, its bounds, and the clocks behind the table. */
#include "unit.h"

#include <time.h>

#include "base/clock.h"

static void assert_time(int64_t wall_us, const char *expected)
{
    char text[PH_TIME_TEXT_LEN + 1];
    ph_time_format(wall_us, text);
    assert_string_equal(text, expected);
}

static void known_times(void **state)
{
    (void)state;
    assert_time(0, "1970-01-01T00:00:00.000000Z");
    assert_time(1, "1970-01-01T00:00:00.000001Z");
    assert_time(-1, "1969-12-31T23:59:59.999999Z");
    assert_time(INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z");
    assert_time(INT64_C(951868799999999), "2000-02-29T23:59:59.999999Z");
    assert_time(INT64_C(-2203977600000000), "1900-02-28T00:00:00.000000Z");
    assert_time(INT64_C(-2203891200000000), "1900-03-01T00:00:00.000000Z");
    assert_time(INT64_C(1795235289123456), "2026-11-21T04:28:09.123456Z");
}

static void clamped(void **state)
{
    (void)state;
    const int64_t first = INT64_C(-62135596800000000), last = INT64_C(253402300799999999);
    assert_time(first, "0001-01-01T00:00:00.000000Z");
    assert_time(first - 1, "0001-01-01T00:00:00.000000Z");
    assert_time(INT64_MIN, "0001-01-01T00:00:00.000000Z");
    assert_time(last, "9999-12-31T23:59:59.999999Z");
    assert_time(last + 1, "9999-12-31T23:59:59.999999Z");
    assert_time(INT64_MAX, "9999-12-31T23:59:59.999999Z");
}

static void assert_like_libc(int64_t second, unsigned micro)
{
    struct tm tm;
    char expected[80];
    time_t when = (time_t)second;
    assert_non_null(gmtime_r(&when, &tm));
    (void)snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ",
                   tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   micro);
    assert_time(second * 1000000 + micro, expected);
}

static void every_day_like_libc(void **state)
{
    (void)state;
    for (int64_t day = -719162; day <= 2932896; day += 1 + (day & 1)) {
        assert_like_libc(day * 86400 + (day & 1023) * 84, (unsigned)(day & 0xFFFF));
    }
}

static void every_second_of_a_day_like_libc(void **state)
{
    (void)state;
    for (int64_t second = 0; second < 86400; second++) {
        assert_like_libc(INT64_C(1795219200) + second, (unsigned)(second * 11));
    }
}

static int64_t fake_mono(void)
{
    return 42;
}

static int64_t fake_wall(void)
{
    return 43;
}

static void clocks(void **state)
{
    (void)state;
    int64_t before = ph_clock_mono_us();
    assert_true(before > 0);
    assert_true(ph_clock_mono_us() >= before);
    assert_true(llabs(ph_clock_wall_us() / 1000000 - (int64_t)time(NULL)) <= 1);
    struct ph_sys real = ph_sys;
    ph_sys.mono_us = fake_mono;
    ph_sys.wall_us = fake_wall;
    assert_int_equal(ph_clock_mono_us(), 42);
    assert_int_equal(ph_clock_wall_us(), 43);
    ph_sys = real;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(clamped),
        cmocka_unit_test(every_day_like_libc),
        cmocka_unit_test(every_second_of_a_day_like_libc),
        cmocka_unit_test(clocks),
    };
    return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
