/* Buffers: exact caps, failure that sticks, numbers, formatting, every allocation failing. */
#include "unit.h"

#include "base/buf.h"

static void empty_text(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 10);
    assert_string_equal(ph_buf_text(&buf), "");
    assert_int_equal(ph_buf_str(&buf).len, 0);
    ph_buf_put(&buf, NULL, 0);
    ph_buf_puts(&buf, "");
    assert_int_equal(unit_memory.calls, 0);
    assert_int_equal(ph_buf_check(&buf, "x", NULL), 0);
    ph_buf_clear(&buf);
    ph_buf_free(&buf);
    ph_buf_free(NULL);
}

static void cap_is_exact(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 300; cap++) {
        struct ph_buf buf;
        ph_buf_init(&buf, cap);
        for (size_t i = 0; i < cap; i++) {
            ph_buf_putc(&buf, (char)('a' + i % 26));
            assert_false(buf.failed);
            assert_int_equal(strlen(ph_buf_text(&buf)), i + 1);
        }
        ph_buf_putc(&buf, '!');
        assert_true(buf.failed);
        assert_int_equal(buf.len, cap);
        assert_true(buf.size <= cap + 1);
        ph_buf_free(&buf);
    }
}

static void failure_sticks_and_changes_nothing(void **state)
{
    (void)state;
    struct ph_buf buf;
    struct ph_error err = {0};
    ph_buf_init(&buf, 8);
    ph_buf_puts(&buf, "abcd");
    ph_buf_puts(&buf, "efghi");
    assert_string_equal(ph_buf_text(&buf), "abcd");
    ph_buf_puts(&buf, "e");
    ph_buf_putc(&buf, 'e');
    ph_buf_put_i64(&buf, 1);
    ph_buf_printf(&buf, "%d", 1);
    assert_string_equal(ph_buf_text(&buf), "abcd");
    assert_int_equal(ph_buf_check(&buf, "the topic", &err), PH_E_NOMEM);
    assert_non_null(strstr(err.text, "the topic"));
    assert_non_null(strstr(err.text, "8 bytes"));
    ph_buf_clear(&buf);
    assert_string_equal(ph_buf_text(&buf), "");
    ph_buf_puts(&buf, "12345678");
    assert_int_equal(ph_buf_check(&buf, "x", &err), 0);
    ph_buf_free(&buf);
}

static void huge_lengths_do_not_wrap(void **state)
{
    (void)state;
    struct ph_buf buf;
    volatile size_t huge = SIZE_MAX;
    for (size_t less = 0; less < 20; less++) {
        ph_buf_init(&buf, 100);
        ph_buf_puts(&buf, "0123456789");
        ph_buf_put(&buf, "x", huge - less);
        assert_true(buf.failed);
        assert_string_equal(ph_buf_text(&buf), "0123456789");
        ph_buf_free(&buf);
    }
}

static void bytes_of_any_kind(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 100);
    ph_buf_put(&buf, "a\0b", 3);
    ph_buf_put_str(&buf, PH_STR("cd"));
    ph_buf_put_str(&buf, (struct ph_str){NULL, 0});
    assert_int_equal(buf.len, 5);
    assert_memory_equal(ph_buf_text(&buf), "a\0bcd", 6);
    ph_buf_free(&buf);
}

static void check_i64(int64_t value)
{
    char expected[32];
    struct ph_buf buf;
    (void)snprintf(expected, sizeof expected, "%lld", (long long)value);
    ph_buf_init(&buf, 100);
    ph_buf_put_i64(&buf, value);
    assert_string_equal(ph_buf_text(&buf), expected);
    ph_buf_clear(&buf);
    (void)snprintf(expected, sizeof expected, "%llu", (unsigned long long)value);
    ph_buf_put_u64(&buf, (uint64_t)value);
    assert_string_equal(ph_buf_text(&buf), expected);
    ph_buf_free(&buf);
}

static void numbers(void **state)
{
    (void)state;
    check_i64(0);
    check_i64(INT64_MIN);
    check_i64(INT64_MAX);
    for (int64_t power = 1; power < INT64_MAX / 10; power *= 10) {
        check_i64(power);
        check_i64(-power);
        check_i64(power - 1);
        check_i64(1 - power);
    }
}

static void number_that_does_not_fit(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 19);
    ph_buf_put_i64(&buf, INT64_MIN);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    ph_buf_free(&buf);
}

static void formats(void **state)
{
    (void)state;
    char expected[3001];
    struct ph_buf buf;
    ph_buf_init(&buf, 3000);
    ph_buf_printf(&buf, "%s-%d", "x", 42);
    assert_string_equal(ph_buf_text(&buf), "x-42");
    ph_buf_printf(&buf, "%s", "");
    assert_string_equal(ph_buf_text(&buf), "x-42");
    ph_buf_printf(&buf, "%*d", 2996, 7);
    (void)snprintf(expected, sizeof expected, "x-42%*d", 2996, 7);
    assert_string_equal(ph_buf_text(&buf), expected);
    assert_false(buf.failed);
    ph_buf_printf(&buf, "%d", 7);
    assert_true(buf.failed);
    assert_string_equal(ph_buf_text(&buf), expected);
    ph_buf_free(&buf);
}

static void format_over_the_cap_leaves_no_trace(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 20);
    ph_buf_puts(&buf, "0123456789");
    ph_buf_printf(&buf, "%s", "abcdefghijk");
    assert_true(buf.failed);
    assert_string_equal(ph_buf_text(&buf), "0123456789");
    ph_buf_clear(&buf);
    ph_buf_puts(&buf, "0123456789");
    ph_buf_printf(&buf, "%s", "abcdefghij");
    assert_string_equal(ph_buf_text(&buf), "0123456789abcdefghij");
    ph_buf_free(&buf);
}

static void clear_keeps_memory(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 5000);
    ph_buf_printf(&buf, "%4000d", 1);
    long calls = unit_memory.calls;
    ph_buf_clear(&buf);
    ph_buf_printf(&buf, "%4000d", 1);
    assert_int_equal(unit_memory.calls, calls);
    ph_buf_free(&buf);
    ph_buf_puts(&buf, "again");
    assert_string_equal(ph_buf_text(&buf), "again");
    ph_buf_free(&buf);
}

static void every_allocation_fails_in_turn(void **state)
{
    (void)state;
    bool failed = true;
    for (long ok = 0; failed; ok++) {
        assert_true(ok < 30);
        struct ph_buf buf;
        ph_buf_init(&buf, 100000);
        unit_memory_fail_after(ok);
        size_t len = 0;
        for (int i = 0; i < 500; i++) {
            len = buf.failed ? len : buf.len;
            ph_buf_puts(&buf, "some text, ");
            len = buf.failed ? len : buf.len;
            ph_buf_printf(&buf, "and number %d; ", i);
        }
        failed = buf.failed;
        if (failed) {
            assert_int_equal(buf.len, len);
            assert_int_equal(strlen(ph_buf_text(&buf)), len);
            assert_int_equal(ph_buf_check(&buf, "x", NULL), PH_E_NOMEM);
        }
        unit_memory_fail_after(-1);
        ph_buf_clear(&buf);
        ph_buf_puts(&buf, "works again");
        assert_string_equal(ph_buf_text(&buf), "works again");
        ph_buf_free(&buf);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, unit_memory_watch, unit_memory_restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty_text),
        TEST(cap_is_exact),
        TEST(failure_sticks_and_changes_nothing),
        TEST(huge_lengths_do_not_wrap),
        TEST(bytes_of_any_kind),
        TEST(numbers),
        TEST(number_that_does_not_fit),
        TEST(formats),
        TEST(format_over_the_cap_leaves_no_trace),
        TEST(clear_keeps_memory),
        TEST(every_allocation_fails_in_turn),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
