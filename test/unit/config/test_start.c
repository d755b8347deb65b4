/* The option start: its three forms, and times as other programs write them. */
#include "unit.h"

#include "base/clock.h"
#include "config/settings.h"
#include "fake_drivers.h"

static void words(void **state)
{
    (void)state;
    struct ph_start start;
    assert_int_equal(ph_start_parse(PH_STR("earliest"), &start, NULL), 0);
    assert_int_equal(start.kind, PH_START_EARLIEST);
    assert_int_equal(ph_start_parse(PH_STR("latest"), &start, NULL), 0);
    assert_int_equal(start.kind, PH_START_LATEST);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *utc;
    } cases[] = {
        {"2026-11-21T04:28:09Z", "2026-11-21T04:28:09.000000Z"},
        {"2026-11-21 04:28:09.5z", "2026-11-21T04:28:09.500000Z"},
        {"2026-11-21t04:28Z", "2026-11-21T04:28:00.000000Z"},
        {"2026-11-21T04:28:09.123456789+00:00", "2026-11-21T04:28:09.123456Z"},
        {"2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000000Z"},
        {"2026-12-31T23:30:00-0130", "2027-01-01T01:00:00.000000Z"},
        {"2024-02-29T12:00:00+02", "2024-02-29T10:00:00.000000Z"},
        {"2000-03-01T00:00:00Z", "2000-03-01T00:00:00.000000Z"},
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"},
        {"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_start start;
        char text[PH_TIME_TEXT_LEN + 1];
        assert_int_equal(ph_start_parse(ph_str_from(cases[i].text), &start, NULL), 0);
        assert_int_equal(start.kind, PH_START_TIME);
        ph_time_format(start.time_us, text);
        assert_string_equal(text, cases[i].utc);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "Earliest",
        "earliest ",
        "now",
        "after:",
        "after:1",
        "after:1-",
        "after:x-2",
        "after:1-2x",
        "2026-11-21",
        "2026-11-21T04:28:09",
        "2026-11-21T04:28:09 Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T00:60:00Z",
        "2026-11-21T00:00:60Z",
        "2026-11-21T00:00:00.Z",
        "2026-11-21T00:00:00+24:00",
        "2026-11-21T00:00:00+1:00",
        "2026-11-21T00:00:00Zx",
        "1969-12-31T23:59:59Z",
        "26-11-21T00:00:00Z",
        "2026-11-21T00:00:00.1234567890Z",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_start start;
        struct ph_error err = {0};
        if (ph_start_parse(ph_str_from(cases[i]), &start, &err) != PH_E_CONFIG) {
            fail_msg("'%s' was taken", cases[i]);
        }
        assert_non_null(strstr(err.text, "a time with a zone"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test(times),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("config/start", tests, NULL, NULL);
}
