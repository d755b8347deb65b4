/* Errors by value: texts that are cut, replaced by themselves, prefixed; the table of codes. */
#include "unit.h"

#include "base/err.h"

static void stores_and_returns(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(ph_fail(&err, PH_E_DATA, "row %d of %s", 7, "events"), PH_E_DATA);
    assert_int_equal(err.code, PH_E_DATA);
    assert_string_equal(err.text, "row 7 of events");
    ph_error_clear(&err);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.text, "");
}

static void null_is_fine(void **state)
{
    (void)state;
    assert_int_equal(ph_fail(NULL, PH_E_IO, "%s", "x"), PH_E_IO);
    assert_true(ph_fail_prefix(NULL, "%s", "x") < 0);
    ph_error_clear(NULL);
}

static void own_text_as_argument(void **state)
{
    (void)state;
    struct ph_error err = {0};
    (void)ph_fail(&err, PH_E_IO, "cause");
    (void)ph_fail(&err, PH_E_DATA, "a %s b %s", err.text, err.text + 2);
    assert_string_equal(err.text, "a cause b use");
    (void)ph_fail_prefix(&err, "<%s>", err.text);
    assert_string_equal(err.text, "<a cause b use>: a cause b use");
    assert_int_equal(err.code, PH_E_DATA);
}

static void prefixes_stack(void **state)
{
    (void)state;
    struct ph_error err = {0};
    (void)ph_fail(&err, PH_E_UNAVAILABLE, "connection refused");
    assert_int_equal(ph_fail_prefix(&err, "host %s", "db1"), PH_E_UNAVAILABLE);
    assert_int_equal(ph_fail_prefix(&err, "source"), PH_E_UNAVAILABLE);
    assert_string_equal(err.text, "source: host db1: connection refused");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char text[2 * PH_ERROR_TEXT_MAX];
    struct ph_error err;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memset(&err, 0xFF, sizeof err);
    (void)ph_fail(&err, PH_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), PH_ERROR_TEXT_MAX - 1);
    (void)ph_fail_prefix(&err, "front");
    assert_int_equal(strlen(err.text), PH_ERROR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "front: xxx", 10);
    (void)ph_fail_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), PH_ERROR_TEXT_MAX - 1);
    text[PH_ERROR_TEXT_MAX - 1] = '\0';
    (void)ph_fail(&err, PH_E_IO, "%s", text);
    assert_string_equal(err.text, text);
}

/* Whatever the place of the cut, no half character is left. */
static void cut_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x93\xAF"};
    for (size_t c = 0; c < COUNT(characters); c++) {
        for (int shift = 0; shift < 4; shift++) {
            char text[1400] = "xxx";
            size_t size = strlen(characters[c]);
            for (size_t at = (size_t)shift; at + size < sizeof text; at += size) {
                memcpy(text + at, characters[c], size);
            }
            struct ph_error err = {0};
            (void)ph_fail(&err, PH_E_IO, "%s", text);
            assert_true(ph_str_utf8(ph_str_from(err.text)));
            assert_true(strlen(err.text) > PH_ERROR_TEXT_MAX - 5);
            (void)ph_fail_prefix(&err, "p");
            assert_true(ph_str_utf8(ph_str_from(err.text)));
        }
    }
}

static void bytes_that_are_no_utf8_are_kept(void **state)
{
    (void)state;
    char text[2000];
    struct ph_error err = {0};
    memset(text, 0x80, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)ph_fail(&err, PH_E_IO, "%s", text);
    assert_true(strlen(err.text) >= PH_ERROR_TEXT_MAX - 4);
    (void)ph_fail(&err, PH_E_IO, "%s", "\x80\x80");
    assert_string_equal(err.text, "\x80\x80");
}

static void code_table(void **state)
{
    (void)state;
    assert_string_equal(ph_code_name(0), "OK");
    assert_string_equal(ph_code_name(PH_E_UNAVAILABLE), "UNAVAILABLE");
    assert_string_equal(ph_code_name(1), "UNKNOWN");
    assert_string_equal(ph_code_name(-1000), "UNKNOWN");
    assert_int_equal(ph_code_class(PH_E_UNAVAILABLE), PH_RETRIABLE);
    assert_int_equal(ph_code_class(PH_E_CONFIG), PH_PERMANENT);
    assert_int_equal(ph_code_class(PH_E_FENCED), PH_FATAL);
    assert_int_equal(ph_code_class(-1000), PH_FATAL);
    assert_int_equal(ph_code_exit(0), 0);
    assert_int_equal(ph_code_exit(PH_E_USAGE), 64);
    assert_int_equal(ph_code_exit(PH_E_CONFIG), 78);
    assert_int_equal(ph_code_exit(PH_E_STOPPED), 0);
    assert_int_equal(ph_code_exit(-1000), 70);
    assert_int_equal(ph_code_exit(1), 70);
}

static void values_are_used_once(void **state)
{
    (void)state;
    bool seen[100] = {false};
#define CHECK(name, value, class, exit_status, text)    \
    assert_false(seen[value]);                          \
    seen[value] = true;                                 \
    assert_string_equal(ph_code_name(-(value)), #name); \
    assert_true(ph_code_exit(PH_E_##name) < 128 && sizeof(text) > 1);
    PH_ERROR_MAP(CHECK)
#undef CHECK
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_and_returns),
        cmocka_unit_test(null_is_fine),
        cmocka_unit_test(own_text_as_argument),
        cmocka_unit_test(prefixes_stack),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(cut_between_characters),
        cmocka_unit_test(bytes_that_are_no_utf8_are_kept),
        cmocka_unit_test(code_table),
        cmocka_unit_test(values_are_used_once),
    };
    return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
