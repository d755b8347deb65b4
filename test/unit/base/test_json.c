/* The JSON scanner: what RFC 8259 has and has not, every prefix of a text, depth, escapes. */
#include "unit.h"

#include "base/json.h"

/* A copy of the exact size, so that a sanitizer sees a byte read too far. */
static char *exact_copy(const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static int check(const char *text, size_t len, struct ph_error *err)
{
    char *copy = exact_copy(text, len);
    int rc = ph_json_check((struct ph_str){copy, len}, err);
    free(copy);
    return rc;
}

static void assert_good(const char *text)
{
    struct ph_error err = {0};
    if (check(text, strlen(text), &err) != 0) {
        fail_msg("%s: %s", text, err.text);
    }
}

static void assert_bad(const char *text, size_t at)
{
    struct ph_error err = {0};
    char where[40];
    (void)snprintf(where, sizeof where, "byte %zu:", at);
    if (check(text, strlen(text), &err) != PH_E_DATA || !strstr(err.text, where)) {
        fail_msg("%s: '%s', expected %s", text, err.text, where);
    }
}

static void good_texts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "1E9",
        "1e-05",
        "0.000",
        "\"\"",
        "{}",
        "[]",
        " [ ] ",
        "\t\r\n{\n}\t",
        "[1,2,[3,{\"a\":[]}],{}]",
        "{\"\":0}",
        "{\"a\":1,\"a\":2}",
        "[[[[]]]]",
        "{\"a\":{\"b\":{\"c\":[true,false,null]}}}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDCEF\"",
        "\"\\ud800\"",
        "\"\x7F\"",
        "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x93\xAF and more than eight bytes\"",
        "123456789012345678901234567890.123456789e999999"};
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_good(good[i]);
    }
}

static const struct {
    const char *text;
    size_t at;
} bad_values[] = {
    {"", 0},
    {" ", 1},
    {"nul", 0},
    {"nulll", 4},
    {"True", 0},
    {"NaN", 0},
    {"Infinity", 0},
    {"-", 1},
    {"+1", 0},
    {"01", 1},
    {"-01", 2},
    {".5", 0},
    {"1.", 2},
    {"1.e1", 2},
    {"1e", 2},
    {"1e+", 3},
    {"0x1", 1},
    {"1 2", 2},
    {"-a", 1},
    {"\"", 1},
    {"\"abc", 4},
    {"'a'", 0},
    {"\"a\nb\"", 2},
    {"\"a\tb\"", 2},
    {"\"\x1F\"", 1},
    {"\"\\", 1},
    {"\"\\\"", 3},
    {"\"\\x41\"", 1},
    {"\"\\u12\"", 1},
    {"\"\\u12g4\"", 1},
    {"\"\\u 123\"", 1},
    {"\"\\U0041\"", 1},
    {"[", 1},
    {"]", 0},
    {"[1", 2},
    {"[1,", 3},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1}", 2},
    {"[]]", 2},
    {"{", 1},
    {"}", 0},
    {"{]", 1},
    {"{\"a\"", 4},
    {"{\"a\":", 5},
    {"{\"a\":1", 6},
    {"{\"a\":1,", 7},
    {"{\"a\":1,}", 7},
    {"{,}", 1},
    {"{a:1}", 1},
    {"{1:1}", 1},
    {"{\"a\" 1}", 5},
    {"{\"a\"::1}", 5},
    {"{\"a\":1]", 6},
    {"{\"a\":1 \"b\":2}", 7},
    {"[\"a\":1]", 4},
    {"{\"a\",1}", 4},
    {"[1]x", 3},
    {"/**/1", 0},
    {"\xEF\xBB\xBF{}", 0},
    {"\"\x80\"", 1},
    {"\"\xC3\"", 1},
    {"\"\xED\xA0\x80\"", 1},
    {"\"\xF8\x88\x80\x80\x80\"", 1},
    {"[1,2,{\"a\":[}]", 11},
    {"\xC2\xA0"
     "1",
     0},
    {"\f1", 0},
};

static void bad_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_values); i++) {
        assert_bad(bad_values[i].text, bad_values[i].at);
    }
}

static void zero_bytes(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(check("1\0", 2, &err), PH_E_DATA);
    assert_int_equal(check("\0", 1, &err), PH_E_DATA);
    assert_int_equal(check("\"a\0b\"", 5, &err), PH_E_DATA);
    assert_int_equal(check("\"\\\0\"", 4, &err), PH_E_DATA);
    assert_int_equal(ph_json_check((struct ph_str){NULL, 0}, &err), PH_E_DATA);
    assert_int_equal(ph_json_check((struct ph_str){NULL, 0}, NULL), PH_E_DATA);
}

/* Every byte that must be escaped, at every place of the eight that are looked at together. */
static void special_bytes_at_every_place(void **state)
{
    (void)state;
    for (size_t place = 1; place <= 24; place++) {
        for (int c = 0; c < 256; c++) {
            char text[] = "\"xxxxxxxxxxxxxxxxxxxxxxxx\"";
            text[place] = (char)c;
            bool good = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
            assert_int_equal(check(text, sizeof text - 1, NULL) == 0, good);
        }
    }
}

static void no_prefix_is_taken_for_the_whole(void **state)
{
    (void)state;
    static const char text[] =
        "{\"id\":\"\\u00e4\\uD83D\\uDCEF\xE2\x82\xAC and on\",\"n\":-1.25e+3,"
        "\"o\":{\"list\":[true,false,null,{}]},\"p\":[]}";
    for (size_t len = 0; len < sizeof text - 1; len++) {
        assert_int_equal(check(text, len, NULL), PH_E_DATA);
        struct ph_json_member member;
        char *copy = exact_copy(text, len);
        struct ph_json_walk walk = ph_json_walk_object((struct ph_str){copy, len});
        int rc = 1;
        while (rc == 1) {
            rc = ph_json_next(&walk, &member, NULL);
        }
        assert_int_equal(rc, PH_E_DATA);
        free(copy);
    }
    assert_good(text);
}

/* depth openings, what closes them, and a member name in front of each when they are objects. */
static char *nested(size_t depth, bool objects, size_t *len)
{
    char *text = malloc(depth * 5 + 2);
    assert_non_null(text);
    *len = 0;
    for (size_t i = 0; i < depth; i++) {
        const char *opening = !objects ? "[" : i + 1 < depth ? "{\"\":" : "{";
        memcpy(text + *len, opening, strlen(opening));
        *len += strlen(opening);
    }
    memset(text + *len, objects ? '}' : ']', depth);
    *len += depth;
    return text;
}

static void depth_is_bounded(void **state)
{
    (void)state;
    static const size_t depths[] = {1, 127, 128, 129, 130, 100000};
    for (size_t i = 0; i < COUNT(depths); i++) {
        for (int objects = 0; objects < 2; objects++) {
            size_t len;
            char *text = nested(depths[i], objects, &len);
            int expected = depths[i] <= PH_JSON_DEPTH_MAX ? 0 : PH_E_DATA;
            assert_int_equal(check(text, len, NULL), expected);
            struct ph_json_walk walk = ph_json_walk_object((struct ph_str){text, len});
            struct ph_json_member member;
            if (objects && depths[i] > 1) {
                int rc = ph_json_next(&walk, &member, NULL);
                assert_int_equal(rc, expected ? expected : 1);
            }
            free(text);
        }
    }
}

static void walks_members(void **state)
{
    (void)state;
    struct ph_json_member member;
    struct ph_json_walk walk = ph_json_walk_object(
        PH_STR(" { \"a\" : 1.50 , \"b\\n\":{\"x\": [1, 2]} ,\"\":\"s\" , \"d\" : null } "));
    assert_int_equal(ph_json_next(&walk, &member, NULL), 1);
    assert_str(member.name, "a");
    assert_str(member.value, "1.50");
    assert_int_equal(ph_json_next(&walk, &member, NULL), 1);
    assert_str(member.name, "b\\n");
    assert_str(member.value, "{\"x\": [1, 2]}");
    assert_true(ph_json_is_object(member.value));
    assert_int_equal(ph_json_next(&walk, &member, NULL), 1);
    assert_str(member.name, "");
    assert_str(member.value, "\"s\"");
    assert_true(ph_json_is_string(member.value));
    assert_int_equal(ph_json_next(&walk, &member, NULL), 1);
    assert_true(ph_json_is_null(member.value));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ph_json_next(&walk, &member, NULL), 0);
    }
}

static void walks_of_other_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int members, last;
    } walks[] = {
        {"{}", 0, 0},
        {"\n{ }\n", 0, 0},
        {"[]", 0, PH_E_DATA},
        {"", 0, PH_E_DATA},
        {"null", 0, PH_E_DATA},
        {"{}{}", 0, PH_E_DATA},
        {"{} x", 0, PH_E_DATA},
        {"{\"a\":1}", 1, 0},
        {"{\"a\":1}}", 1, PH_E_DATA},
        {"{\"a\":1,}", 1, PH_E_DATA},
        {"{\"a\":1 \"b\":2}", 1, PH_E_DATA},
        {"{\"a\":1", 1, PH_E_DATA},
        {"{,", 0, PH_E_DATA},
        {"{\"a\":[1,]}", 0, PH_E_DATA},
        {"{\"a\"}", 0, PH_E_DATA},
        {"{\"a\":}", 0, PH_E_DATA},
        {"{\"a\":1]", 1, PH_E_DATA},
        {",\"a\":1}", 0, PH_E_DATA},
        {"}", 0, PH_E_DATA},
    };
    for (size_t i = 0; i < COUNT(walks); i++) {
        struct ph_json_walk walk = ph_json_walk_object(ph_str_from(walks[i].text));
        struct ph_json_member member;
        int members = 0, rc;
        while ((rc = ph_json_next(&walk, &member, NULL)) == 1) {
            members++;
        }
        if (members != walks[i].members || rc != walks[i].last) {
            fail_msg("%s: %d members, then %d", walks[i].text, members, rc);
        }
        assert_int_equal(ph_json_next(&walk, &member, NULL), rc); /* and so it stays */
    }
}

static void error_names_the_byte(void **state)
{
    (void)state;
    struct ph_error err = {0};
    struct ph_json_member member;
    struct ph_json_walk walk = ph_json_walk_object(PH_STR("{\"a\":1,\"secret\":x}"));
    assert_int_equal(ph_json_next(&walk, &member, &err), 1);
    assert_int_equal(ph_json_next(&walk, &member, &err), PH_E_DATA);
    assert_non_null(strstr(err.text, "byte 16"));
    assert_null(strstr(err.text, "secret"));
}

static void kinds(void **state)
{
    (void)state;
    assert_true(ph_json_is_string(PH_STR("\"\"")));
    assert_false(ph_json_is_string(PH_STR("\"")));
    assert_false(ph_json_is_string(PH_STR("1")));
    assert_false(ph_json_is_string((struct ph_str){NULL, 0}));
    assert_true(ph_json_is_null(PH_STR("null")));
    assert_false(ph_json_is_null(PH_STR("\"null\"")));
    assert_false(ph_json_is_null((struct ph_str){NULL, 0}));
    assert_true(ph_json_is_object(PH_STR("{}")));
    assert_false(ph_json_is_object(PH_STR("[]")));
    assert_false(ph_json_is_object((struct ph_str){NULL, 0}));
}

/* The text of a string value, in an arena of that many bytes. */
static int string_of(const char *value, size_t room, char *out, struct ph_error *err)
{
    struct ph_arena arena;
    struct ph_str text;
    ph_arena_init(&arena, room);
    char *copy = exact_copy(value, strlen(value));
    int rc = ph_json_string(&arena, (struct ph_str){copy, strlen(value)}, &text, err);
    if (rc == 0) {
        memcpy(out, text.ptr, text.len);
        out[text.len] = '\0';
    }
    free(copy);
    ph_arena_free(&arena);
    return rc;
}

static void strings(void **state)
{
    (void)state;
    static const struct {
        const char *value, *text;
    } strings[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\xE2\x82\xAC\"", "\xE2\x82\xAC"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\"", "A"},
        {"\"\\u007f\\u0080\"", "\x7F\xC2\x80"},
        {"\"\\u07ff\\u0800\"", "\xDF\xBF\xE0\xA0\x80"},
        {"\"\\uFFFF\"", "\xEF\xBF\xBF"},
        {"\"\\ud7ff\\ue000\"", "\xED\x9F\xBF\xEE\x80\x80"},
        {"\"\\uD800\\uDC00\"", "\xF0\x90\x80\x80"},
        {"\"\\uDBFF\\uDFFF\"", "\xF4\x8F\xBF\xBF"},
        {"\"a\\uD83D\\uDCEFb\\n\"", "a\xF0\x9F\x93\xAF"
                                    "b\n"},
        {"\"\\\\u0041\"", "\\u0041"},
        {"\"long enough \\n before and behind\"", "long enough \n before and behind"},
    };
    char text[100];
    for (size_t i = 0; i < COUNT(strings); i++) {
        assert_int_equal(string_of(strings[i].value, 1000, text, NULL), 0);
        assert_string_equal(text, strings[i].text);
    }
}

static void strings_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "\"",
                                      "a",
                                      "1",
                                      "null",
                                      "{}",
                                      "\"a",
                                      "a\"",
                                      "\"\\u0000\"",
                                      "\"a\\u0000b\"",
                                      "\"\\uD800\"",
                                      "\"\\uDC00\"",
                                      "\"\\uD800x\"",
                                      "\"\\uD800\\n\"",
                                      "\"\\uD800\\u0041\"",
                                      "\"\\uDC00\\uD800\"",
                                      "\"\\uD800\\uD800\\uDC00\"",
                                      "\"\\uD800\\u\"",
                                      "\"a\"b\"",
                                      "\"\\\"",
                                      "\"\\u123\"",
                                      "\"\\q\"",
                                      "\"a\nb\"",
                                      "\"\x80\"",
                                      "\"\xE2\x82\""};
    char text[100];
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (string_of(bad[i], 1000, text, NULL) != PH_E_DATA) {
            fail_msg("%s was taken", bad[i]);
        }
    }
}

static void plain_strings_are_slices(void **state)
{
    (void)state;
    struct ph_str value = PH_STR("\"plain\""), name = PH_STR("name"), text;
    assert_int_equal(ph_json_string(NULL, value, &text, NULL), 0);
    assert_ptr_equal(text.ptr, value.ptr + 1);
    assert_int_equal(text.len, 5);
    assert_int_equal(ph_json_name(NULL, name, &text, NULL), 0);
    assert_ptr_equal(text.ptr, name.ptr);
    assert_int_equal(ph_json_string(NULL, PH_STR("\"\""), &text, NULL), 0);
    assert_non_null(text.ptr); /* empty is not absent */
}

static void names(void **state)
{
    (void)state;
    struct ph_arena arena;
    struct ph_str text;
    ph_arena_init(&arena, 1000);
    assert_int_equal(ph_json_name(&arena, PH_STR("\\u0061\\nb"), &text, NULL), 0);
    assert_str(text, "a\nb");
    assert_int_equal(text.ptr[text.len], 0);
    assert_int_equal(ph_json_name(&arena, PH_STR("a\"b"), &text, NULL), PH_E_DATA);
    assert_int_equal(ph_json_name(&arena, PH_STR("a\\"), &text, NULL), PH_E_DATA);
    assert_int_equal(ph_json_name(&arena, (struct ph_str){NULL, 0}, &text, NULL), 0);
    ph_arena_free(&arena);
}

static void no_room_for_a_string(void **state)
{
    (void)state;
    char text[100];
    struct ph_error err = {0};
    assert_int_equal(string_of("\"no escapes, no room needed\"", 0, text, NULL), 0);
    assert_int_equal(string_of("\"\\n\"", 0, text, &err), PH_E_NOMEM);
    assert_int_equal(err.code, PH_E_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(zero_bytes),
        cmocka_unit_test(special_bytes_at_every_place),
        cmocka_unit_test(no_prefix_is_taken_for_the_whole),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(walks_members),
        cmocka_unit_test(walks_of_other_texts),
        cmocka_unit_test(error_names_the_byte),
        cmocka_unit_test(kinds),
        cmocka_unit_test(strings),
        cmocka_unit_test(strings_refused),
        cmocka_unit_test(plain_strings_are_slices),
        cmocka_unit_test(names),
        cmocka_unit_test(no_room_for_a_string),
    };
    return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
