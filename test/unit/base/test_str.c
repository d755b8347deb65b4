/* Slices: comparison with absent ones, glob, UTF-8, edit distance, hash. */
#include "unit.h"

static bool glob(const char *pattern, const char *text)
{
    return ph_str_glob(ph_str_from(pattern), ph_str_from(text));
}

static void absent_slices(void **state)
{
    (void)state;
    struct ph_str absent = ph_str_from(NULL);
    assert_null(absent.ptr);
    assert_true(ph_str_eq(absent, PH_STR("")));
    assert_true(ph_str_eq(absent, absent));
    assert_false(ph_str_eq(absent, PH_STR("x")));
    assert_true(ph_str_starts(absent, absent));
    assert_true(ph_str_starts(PH_STR("x"), absent));
    assert_false(ph_str_starts(absent, PH_STR("x")));
    assert_true(ph_str_is(PH_STR("abc"), "abc"));
    assert_false(ph_str_is(PH_STR("abc"), "abcd"));
    assert_false(ph_str_is(PH_STR("a\0c"), "a"));
    assert_true(ph_str_glob(absent, absent));
    assert_true(ph_str_utf8(absent));
    assert_int_equal(ph_str_distance(absent, PH_STR("abc")), 3);
    assert_int_equal(ph_str_hash(absent), ph_str_hash(PH_STR("")));
}

static void globs(void **state)
{
    (void)state;
    assert_true(glob("", ""));
    assert_false(glob("", "a"));
    assert_false(glob("a", ""));
    assert_true(glob("*", ""));
    assert_true(glob("***", ""));
    assert_true(glob("*", "anything"));
    assert_true(glob("order.*", "order.placed"));
    assert_false(glob("order.*", "orders.placed"));
    assert_true(glob("*.placed", "order.placed"));
    assert_true(glob("o*r*d", "order.placed"));
    assert_false(glob("o*x*d", "order.placed"));
    assert_true(glob("?rder", "order"));
    assert_false(glob("?", ""));
    assert_false(glob("??", "a"));
    assert_true(glob("?*?", "ab"));
    assert_true(glob("*ab", "aab"));
    assert_true(glob("a*b*c", "abbbcbc"));
    assert_false(glob("a*b*c", "abbbcbd"));
    assert_true(glob("[a]\\*", "[a]\\x"));
    assert_false(glob("[a]", "a"));
    assert_true(glob("*", "***"));
    assert_false(glob("ORDER", "order"));
}

/* A plain recursive matcher to compare with. */
static bool glob_plain(const char *p, const char *t)
{
    if (*p == '\0') {
        return *t == '\0';
    }
    if (*p == '*') {
        return glob_plain(p + 1, t) || (*t && glob_plain(p, t + 1));
    }
    return *t && (*p == '?' || *p == *t) && glob_plain(p + 1, t + 1);
}

/* The number written with count letters of the alphabet. */
static void spell(unsigned number, const char *alphabet, unsigned base, char *out)
{
    size_t len = 0;
    for (; number > 0; number /= base + 1) {
        unsigned digit = number % (base + 1);
        if (digit > 0) {
            out[len++] = alphabet[digit - 1];
        }
    }
    out[len] = '\0';
}

static void globs_like_the_plain_matcher(void **state)
{
    (void)state;
    for (unsigned p = 0; p < 3125; p++) {
        for (unsigned t = 0; t < 243; t++) {
            char pattern[16], text[16];
            spell(p, "a*?b", 4, pattern);
            spell(t, "ab", 2, text);
            assert_int_equal(glob(pattern, text), glob_plain(pattern, text));
        }
    }
}

static void hostile_globs_end_soon(void **state)
{
    (void)state;
    static char pattern[4000], text[20000];
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = i % 2 ? '*' : 'a';
    }
    pattern[sizeof pattern - 1] = 'b';
    memset(text, 'a', sizeof text);
    struct ph_str p = {pattern, sizeof pattern}, t = {text, sizeof text};
    assert_false(ph_str_glob(p, t));
    text[sizeof text - 1] = 'b';
    assert_true(ph_str_glob(p, t));
}

static bool utf8(const char *text, size_t len)
{
    /* A copy of the exact size, so that a sanitizer sees a byte read too far; behind eight letters
     * as well, for the path that looks at eight bytes at once. */
    char *copy = malloc(len + 8);
    assert_non_null(copy);
    memcpy(copy + 8, text, len);
    bool good = ph_str_utf8((struct ph_str){copy + 8, len});
    memset(copy, 'x', 8);
    assert_int_equal(ph_str_utf8((struct ph_str){copy, len + 8}), good);
    free(copy);
    return good;
}

static bool utf8_text(const char *text)
{
    return utf8(text, strlen(text));
}

static void good_utf8(void **state)
{
    (void)state;
    assert_true(utf8("\0", 1));
    assert_true(utf8_text("plain and longer than eight"));
    assert_true(utf8_text("\xC2\x80\xDF\xBF"));
    assert_true(utf8_text("\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"));
    assert_true(utf8_text("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"));
}

static void bad_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xC2",
        "\xC2x",
        "\xE2\x82",
        "\xE2\x82x",
        "\xE2x\x82",
        "\xF0\x9F\x93",
        "\xF0\x9F\x93x",
        "\xF8\x88\x80\x80\x80",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(utf8_text(bad[i]));
    }
}

/* Writes any number below 2^21 in the form of UTF-8, well-formed or not. */
static size_t encode(unsigned code, char *out)
{
    static const unsigned leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (len == 1) {
        out[0] = (char)code;
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(leads[len] | code);
    return len;
}

static void every_code_point(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x1FFFFF; code++) {
        char text[4];
        size_t len = encode(code, text);
        struct ph_str s = {text, len};
        bool good = code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
        if ((ph_str_utf8_at(s, 0) == len) != good) {
            fail_msg("U+%04X", code);
        }
    }
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(ph_str_distance(PH_STR(""), PH_STR("")), 0);
    assert_int_equal(ph_str_distance(PH_STR("abc"), PH_STR("")), 3);
    assert_int_equal(ph_str_distance(PH_STR("kitten"), PH_STR("sitting")), 3);
    assert_int_equal(ph_str_distance(PH_STR("sitting"), PH_STR("kitten")), 3);
    assert_int_equal(ph_str_distance(PH_STR("batch"), PH_STR("btach")), 2);
    assert_int_equal(ph_str_distance(PH_STR("same"), PH_STR("same")), 0);
    char a[200], b[200];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    assert_int_equal(ph_str_distance((struct ph_str){a, 200}, (struct ph_str){b, 200}), 64);
    assert_int_equal(ph_str_distance((struct ph_str){a, 200}, (struct ph_str){a, 64}), 0);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void hash_of_every_length_differs(void **state)
{
    (void)state;
    static uint64_t hashes[2 * 100 * 100];
    size_t count = 0;
    for (size_t len = 0; len < 100; len++) {
        char *text = malloc(len ? len : 1);
        assert_non_null(text);
        memset(text, 0, len);
        hashes[count++] = ph_str_hash((struct ph_str){text, len});
        for (size_t place = 0; place < len; place++) {
            for (char c = 1; c <= 2; c++) {
                text[place] = c;
                hashes[count++] = ph_str_hash((struct ph_str){text, len});
                text[place] = 0;
            }
        }
        free(text);
    }
    qsort(hashes, count, sizeof *hashes, compare_u64);
    for (size_t i = 1; i < count; i++) {
        assert_int_not_equal(hashes[i], hashes[i - 1]);
    }
}

/* Keys as they come, in the low and in the high bits of a table of 4096. */
static void hash_spreads(void **state)
{
    (void)state;
    unsigned low[4096] = {0}, high[4096] = {0};
    for (unsigned i = 0; i < 4096 * 16; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "order-%u", i);
        uint64_t hash = ph_str_hash(ph_str_from(key));
        low[hash & 4095]++;
        high[hash >> 52]++;
    }
    for (size_t i = 0; i < 4096; i++) {
        assert_in_range(low[i], 1, 45); /* 16 expected */
        assert_in_range(high[i], 1, 45);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_slices),
        cmocka_unit_test(globs),
        cmocka_unit_test(globs_like_the_plain_matcher),
        cmocka_unit_test(hostile_globs_end_soon),
        cmocka_unit_test(good_utf8),
        cmocka_unit_test(bad_utf8),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(distances),
        cmocka_unit_test(hash_of_every_length_differs),
        cmocka_unit_test(hash_spreads),
    };
    return cmocka_run_group_tests_name("base/str", tests, NULL, NULL);
}
