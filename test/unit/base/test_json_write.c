/* The JSON writer: escapes, bytes that are not UTF-8, and the way back through the scanner. */
#include "unit.h"

#include "base/json.h"

static void assert_writes(struct ph_str s, const char *expected)
{
    struct ph_buf buf;
    ph_buf_init(&buf, 1000);
    ph_json_put_string(&buf, s);
    assert_string_equal(ph_buf_text(&buf), expected);
    assert_int_equal(ph_json_check(ph_buf_str(&buf), NULL), 0);
    ph_buf_free(&buf);
}

static void escapes(void **state)
{
    (void)state;
    assert_writes(PH_STR(""), "\"\"");
    assert_writes((struct ph_str){NULL, 0}, "\"\"");
    assert_writes(PH_STR("plain / text"), "\"plain / text\"");
    assert_writes(PH_STR("\b\f\n\r\t\"\\"), "\"\\b\\f\\n\\r\\t\\\"\\\\\"");
    assert_writes(PH_STR("\0\x01\x1F\x7F"), "\"\\u0000\\u0001\\u001f\x7F\"");
    assert_writes(PH_STR("\xC3\xA4 and \xF0\x9F\x93\xAF"), "\"\xC3\xA4 and \xF0\x9F\x93\xAF\"");
    assert_writes(PH_STR("much longer than eight bytes\nand again longer"),
                  "\"much longer than eight bytes\\nand again longer\"");
}

#define FFFD "\xEF\xBF\xBD"

static void bytes_that_are_no_utf8(void **state)
{
    (void)state;
    assert_writes(PH_STR("a\x80z"), "\"a" FFFD "z\"");
    assert_writes(PH_STR("\xC3"), "\"" FFFD "\"");
    assert_writes(PH_STR("\xE2\x82"), "\"" FFFD FFFD "\"");
    assert_writes(PH_STR("\xED\xA0\x80"), "\"" FFFD FFFD FFFD "\"");
    assert_writes(PH_STR("\xC0\x80"), "\"" FFFD FFFD "\"");
    assert_writes(PH_STR("\xFF\xC3\xA4\xFE"), "\"" FFFD "\xC3\xA4" FFFD "\"");
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Any bytes give well-formed JSON, and UTF-8 without '\0' comes back as it went. */
static void there_and_back(void **state)
{
    (void)state;
    uint32_t seed = 20261121;
    for (int round = 0; round < 20000; round++) {
        size_t len = next_random(&seed) % 40;
        char *bytes = malloc(len + 1);
        assert_non_null(bytes);
        bool binary = round % 2;
        for (size_t i = 0; i < len; i++) {
            uint32_t mask = next_random(&seed) % 4 ? 0x7F : 0xFF;
            bytes[i] = (char)(next_random(&seed) & (binary ? mask : 0x7F));
        }
        struct ph_str s = {bytes, len}, back;
        struct ph_buf buf;
        struct ph_arena arena;
        ph_buf_init(&buf, 1000);
        ph_arena_init(&arena, 1000);
        ph_json_put_string(&buf, s);
        assert_int_equal(ph_json_check(ph_buf_str(&buf), NULL), 0);
        if (ph_str_utf8(s) && !memchr(bytes, 0, len)) {
            assert_int_equal(ph_json_string(&arena, ph_buf_str(&buf), &back, NULL), 0);
            assert_true(ph_str_eq(s, back));
        }
        ph_arena_free(&arena);
        ph_buf_free(&buf);
        free(bytes);
    }
}

static void special_bytes_at_every_place(void **state)
{
    (void)state;
    for (size_t place = 0; place < 20; place++) {
        for (int c = 0; c < 256; c++) {
            char text[21] = "xxxxxxxxxxxxxxxxxxxx";
            text[place] = (char)c;
            struct ph_buf buf;
            ph_buf_init(&buf, 1000);
            ph_json_put_string(&buf, (struct ph_str){text, 20});
            assert_int_equal(ph_json_check(ph_buf_str(&buf), NULL), 0);
            bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
            assert_int_equal(buf.len == 22, plain);
            ph_buf_free(&buf);
        }
    }
}

static void members(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 1000);
    ph_buf_putc(&buf, '{');
    ph_json_put_member(&buf, "name", PH_STR("a \"b\""));
    ph_json_put_member_i64(&buf, "low", INT64_MIN);
    ph_json_put_name(&buf, "inner");
    ph_buf_putc(&buf, '{');
    ph_json_put_member_i64(&buf, "n", 0);
    ph_buf_puts(&buf, "}}");
    assert_string_equal(ph_buf_text(&buf), "{\"name\":\"a \\\"b\\\"\",\"low\":-9223372036854775808,"
                                           "\"inner\":{\"n\":0}}");
    assert_int_equal(ph_json_check(ph_buf_str(&buf), NULL), 0);
    ph_buf_free(&buf);
}

static void over_the_cap(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 30; cap++) {
        struct ph_buf buf;
        ph_buf_init(&buf, cap);
        ph_buf_putc(&buf, '{');
        ph_json_put_member(&buf, "key", PH_STR("a\nvalue\n of some length"));
        assert_int_equal(ph_buf_check(&buf, "event", NULL), PH_E_NOMEM);
        ph_buf_free(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes),        cmocka_unit_test(bytes_that_are_no_utf8),
        cmocka_unit_test(there_and_back), cmocka_unit_test(special_bytes_at_every_place),
        cmocka_unit_test(members),        cmocka_unit_test(over_the_cap),
    };
    return cmocka_run_group_tests_name("base/json_write", tests, NULL, NULL);
}
