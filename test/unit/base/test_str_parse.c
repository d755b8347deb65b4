/* Numbers, durations, sizes and switches of a configuration: what is taken and what is refused. */
#include "unit.h"

#define UNTOUCHED 4711

typedef bool parse_i64(struct ph_str s, int64_t *out);

static void assert_takes(parse_i64 *parse, const char *text, int64_t expected)
{
    int64_t value = UNTOUCHED;
    size_t len = strlen(text);
    char *exact = malloc(len + 1); /* nothing may be read behind the slice, not even a digit */
    assert_non_null(exact);
    memcpy(exact, text, len);
    exact[len] = '9';
    if (!parse((struct ph_str){exact, len}, &value) || value != expected) {
        fail_msg("'%s' gave %lld", text, (long long)value);
    }
    free(exact);
}

static void assert_refuses(parse_i64 *parse, const char *text)
{
    int64_t value = UNTOUCHED;
    if (parse(ph_str_from(text), &value) || value != UNTOUCHED) {
        fail_msg("'%s' gave %lld", text, (long long)value);
    }
}

static const char *const never_numbers[] = {"",   " ",    "-",     "+1",  " 1",    "1 ",
                                            "1x", "0x10", "1.0",   "1e3", "--1",   "1-",
                                            "-+", "\n",   "1,000", "one", "1_000", "\xEF\xBC\x91"};

static void signed_numbers(void **state)
{
    (void)state;
    assert_takes(ph_str_i64, "0", 0);
    assert_takes(ph_str_i64, "-0", 0);
    assert_takes(ph_str_i64, "007", 7);
    assert_takes(ph_str_i64, "-42", -42);
    assert_takes(ph_str_i64, "9223372036854775807", INT64_MAX);
    assert_takes(ph_str_i64, "-9223372036854775808", INT64_MIN);
    assert_takes(ph_str_i64, "00000000000000000000000000000000001", 1);
    assert_refuses(ph_str_i64, "9223372036854775808");
    assert_refuses(ph_str_i64, "-9223372036854775809");
    assert_refuses(ph_str_i64, "18446744073709551616");
    assert_refuses(ph_str_i64, "99999999999999999999999999");
    for (size_t i = 0; i < COUNT(never_numbers); i++) {
        assert_refuses(ph_str_i64, never_numbers[i]);
    }
    int64_t value;
    assert_false(ph_str_i64((struct ph_str){NULL, 0}, &value));
    assert_false(ph_str_i64(PH_STR("1\0"), &value));
}

static void unsigned_numbers(void **state)
{
    (void)state;
    uint64_t value = UNTOUCHED;
    assert_true(ph_str_u64(PH_STR("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);
    assert_true(ph_str_u64(PH_STR("0"), &value));
    assert_true(value == 0);
    value = UNTOUCHED;
    assert_false(ph_str_u64(PH_STR("18446744073709551616"), &value));
    assert_false(ph_str_u64(PH_STR("18446744073709551620"), &value));
    assert_false(ph_str_u64(PH_STR("-1"), &value));
    for (size_t i = 0; i < COUNT(never_numbers); i++) {
        assert_false(ph_str_u64(ph_str_from(never_numbers[i]), &value));
    }
    assert_true(value == UNTOUCHED);
}

static void durations(void **state)
{
    (void)state;
    assert_takes(ph_str_duration_ms, "0", 0);
    assert_takes(ph_str_duration_ms, "0s", 0);
    assert_takes(ph_str_duration_ms, "0us", 0);
    assert_takes(ph_str_duration_ms, "1us", 1);
    assert_takes(ph_str_duration_ms, "250us", 1);
    assert_takes(ph_str_duration_ms, "1000us", 1);
    assert_takes(ph_str_duration_ms, "1001us", 2);
    assert_takes(ph_str_duration_ms, "9223372036854775807us", INT64_C(9223372036854776));
    assert_takes(ph_str_duration_ms, "100ms", 100);
    assert_takes(ph_str_duration_ms, "5s", 5000);
    assert_takes(ph_str_duration_ms, "2m", 120000);
    assert_takes(ph_str_duration_ms, "1h", 3600000);
    assert_takes(ph_str_duration_ms, "7d", 604800000);
    static const char *const bad[] = {"",
                                      "1",
                                      "-1s",
                                      "s",
                                      "1 s",
                                      "1s ",
                                      "1S",
                                      "1sec",
                                      "1h30m",
                                      "1.5s",
                                      "+1s",
                                      "1us1",
                                      "1n",
                                      "1w",
                                      "1000",
                                      "-0",
                                      "0x0s",
                                      "9223372036854775807s",
                                      "106751991168d",
                                      "18446744073709551615us",
                                      "18446744073709551616ms"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_refuses(ph_str_duration_ms, bad[i]);
    }
}

static void sizes(void **state)
{
    (void)state;
    assert_takes(ph_str_size, "0", 0);
    assert_takes(ph_str_size, "1000", 1000);
    assert_takes(ph_str_size, "64KiB", 65536);
    assert_takes(ph_str_size, "16MiB", 16777216);
    assert_takes(ph_str_size, "1GiB", 1073741824);
    assert_takes(ph_str_size, "10kB", 10000);
    assert_takes(ph_str_size, "5MB", 5000000);
    assert_takes(ph_str_size, "2GB", 2000000000);
    assert_takes(ph_str_size, "9223372036854775807", INT64_MAX);
    assert_takes(ph_str_size, "8589934591GiB", INT64_C(8589934591) << 30);
    static const char *const bad[] = {"",
                                      "-1",
                                      "kB",
                                      "1 kB",
                                      "1KB",
                                      "1kb",
                                      "1K",
                                      "1.5MiB",
                                      "1MiBs",
                                      "8589934592GiB",
                                      "9223372036854775808",
                                      "18446744073709551616"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_refuses(ph_str_size, bad[i]);
    }
}

static void switches(void **state)
{
    (void)state;
    static const char *const on[] = {"true", "yes", "on", "1"};
    static const char *const off[] = {"false", "no", "off", "0"};
    static const char *const bad[] = {"", "True", "t", "y", "enabled", "2", " on", "on "};
    for (size_t i = 0; i < COUNT(on); i++) {
        bool value = false;
        assert_true(ph_str_bool(ph_str_from(on[i]), &value) && value);
        assert_true(ph_str_bool(ph_str_from(off[i]), &value) && !value);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        bool value = true;
        assert_false(ph_str_bool(ph_str_from(bad[i]), &value));
        assert_true(value);
    }
}

static void schemes(void **state)
{
    (void)state;
    assert_str(ph_str_scheme(PH_STR("kafka://a")), "kafka");
    assert_str(ph_str_scheme(PH_STR("stdout:")), "stdout");
    assert_str(ph_str_scheme(PH_STR("a+b-c.d:x")), "a+b-c.d");
    static const char *const none[] = {"", ":", "kafka", "1a:x", "a b:x", "host=x", "/path:x"};
    for (size_t i = 0; i < COUNT(none); i++) {
        assert_null(ph_str_scheme(ph_str_from(none[i])).ptr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_numbers), cmocka_unit_test(unsigned_numbers),
        cmocka_unit_test(durations),      cmocka_unit_test(sizes),
        cmocka_unit_test(switches),       cmocka_unit_test(schemes),
    };
    return cmocka_run_group_tests_name("base/str_parse", tests, NULL, NULL);
}
