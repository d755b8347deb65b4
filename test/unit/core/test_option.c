/* Options: every type, bounds, messages that name option and value, maps, help, memory failing. */
#include "unit.h"

#include "core/option.h"

struct config {
    char *text;
    int64_t count, wait_ms, bytes;
    bool on;
    int kind;
    struct ph_option_map map;
};

#define AT(member) offsetof(struct config, member)

static const struct ph_option table[] = {
    {"text", PH_OPT_STRING, AT(text), "hello", 0, 0, NULL, "some text"},
    {"count", PH_OPT_INT, AT(count), "7", -5, 100, NULL, "a number"},
    {"wait", PH_OPT_DURATION, AT(wait_ms), "50ms", 1, 60000, NULL, "a time"},
    {"bytes", PH_OPT_SIZE, AT(bytes), "64KiB", 1024, 0, NULL, "a size"},
    {"on", PH_OPT_BOOL, AT(on), "true", 0, 0, NULL, "a switch"},
    {"kind", PH_OPT_ENUM, AT(kind), "two", 0, 0, "one|two|three", "a choice"},
    {"kafka.*", PH_OPT_MAP, AT(map), NULL, 0, 0, NULL, "whatever is below"},
    PH_OPTION_END,
};

static int set(struct config *config, const char *name, const char *value, struct ph_error *err)
{
    return ph_option_set(table, config, "sink", ph_str_from(name), ph_str_from(value), err);
}

static void defaults(void **state)
{
    (void)state;
    struct config config = {0};
    struct ph_error err = {0};
    assert_int_equal(ph_options_defaults(table, &config, &err), 0);
    assert_string_equal(config.text, "hello");
    assert_int_equal(config.count, 7);
    assert_int_equal(config.wait_ms, 50);
    assert_int_equal(config.bytes, 65536);
    assert_true(config.on);
    assert_int_equal(config.kind, 1);
    assert_int_equal(config.map.count, 0);
    ph_options_free(table, &config);
    assert_null(config.text);
    ph_options_free(table, &config);
    ph_options_free(table, NULL);
}

static void values(void **state)
{
    (void)state;
    struct config config = {0};
    assert_int_equal(set(&config, "text", "", NULL), 0);
    assert_string_equal(config.text, "");
    assert_int_equal(set(&config, "text", "other", NULL), 0);
    assert_string_equal(config.text, "other");
    assert_int_equal(set(&config, "count", "-5", NULL), 0);
    assert_int_equal(config.count, -5);
    assert_int_equal(set(&config, "wait", "1m", NULL), 0);
    assert_int_equal(config.wait_ms, 60000);
    assert_int_equal(set(&config, "bytes", "8GiB", NULL), 0);
    assert_int_equal(config.bytes, INT64_C(8) << 30);
    assert_int_equal(set(&config, "on", "off", NULL), 0);
    assert_false(config.on);
    assert_int_equal(set(&config, "kind", "one", NULL), 0);
    assert_int_equal(config.kind, 0);
    assert_int_equal(set(&config, "kind", "three", NULL), 0);
    assert_int_equal(config.kind, 2);
    ph_options_free(table, &config);
}

static void check_refused(const char *name, const char *value, const char *const *words)
{
    struct config config = {0};
    struct ph_error err = {0};
    assert_int_equal(set(&config, name, value, &err), PH_E_CONFIG);
    for (; *words; words++) {
        if (!strstr(err.text, *words)) {
            fail_msg("\"%s\" lacks \"%s\"", err.text, *words);
        }
    }
    assert_null(config.text);
    assert_int_equal(config.count, 0);
    assert_int_equal(config.map.count, 0);
    assert_int_equal(set(&config, name, value, NULL), PH_E_CONFIG);
}

#define REFUSED(name, value, ...) \
    check_refused(name, value, (const char *const[]){__VA_ARGS__, NULL})

static void refusals(void **state)
{
    (void)state;
    REFUSED("count", "x", "sink.count", "\"x\"", "whole number");
    REFUSED("count", "", "sink.count", "whole number");
    REFUSED("count", "101", "sink.count", "101", "at least -5 and at most 100");
    REFUSED("count", "-6", "at least -5");
    REFUSED("wait", "5", "sink.wait", "unit", "100ms");
    REFUSED("wait", "2m", "at least 1ms and at most 1m");
    REFUSED("bytes", "1023", "at least 1KiB");
    REFUSED("bytes", "many", "64KiB");
    REFUSED("on", "maybe", "true or false");
    REFUSED("kind", "four", "sink.kind", "one|two|three");
    REFUSED("kind", "", "one|two|three");
    REFUSED("kind", "one|two", "one|two|three");
    REFUSED("coutn", "1", "sink.coutn", "unknown option", "did you mean sink.count?");
    REFUSED("kafak", "1", "did you mean sink.kafka.*?");
    REFUSED("nothing_like_it", "1", "unknown option");
    REFUSED("kafka", "1", "unknown option");
    REFUSED("kafka.", "1", "unknown option");
}

static void refused_zero_byte(void **state)
{
    (void)state;
    struct config config = {0};
    struct ph_error err = {0};
    struct ph_str zero = {"a\0b", 3};
    assert_int_equal(ph_option_set(table, &config, "", PH_STR("text"), zero, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "text: "));
    assert_int_equal(ph_option_set(table, &config, "", PH_STR("kafka.a"), zero, &err), PH_E_CONFIG);
    assert_int_equal(config.map.count, 0);
}

static void long_names_and_values_are_cut(void **state)
{
    (void)state;
    struct config config = {0};
    struct ph_error err = {0};
    char text[5000];
    memset(text, 'x', sizeof text);
    struct ph_str big = {text, sizeof text};
    assert_int_equal(ph_option_set(table, &config, "p", big, big, &err), PH_E_CONFIG);
    assert_int_equal(ph_option_set(table, &config, "p", PH_STR("count"), big, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "p.count"));
}

static void maps(void **state)
{
    (void)state;
    struct config config = {0};
    assert_int_equal(set(&config, "kafka.linger.ms", "5", NULL), 0);
    assert_int_equal(set(&config, "kafka.a", "x=y", NULL), 0);
    assert_int_equal(set(&config, "kafka.linger.ms", "6", NULL), 0);
    assert_int_equal(config.map.count, 2);
    assert_string_equal(ph_option_map_get(&config.map, "linger.ms"), "6");
    assert_string_equal(ph_option_map_get(&config.map, "a"), "x=y");
    assert_null(ph_option_map_get(&config.map, "b"));
    char name[32];
    for (int i = 2; i < PH_OPTION_MAP_MAX; i++) {
        (void)snprintf(name, sizeof name, "kafka.n%d", i);
        assert_int_equal(set(&config, name, "", NULL), 0);
    }
    struct ph_error err = {0};
    assert_int_equal(set(&config, "kafka.more", "", &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "sink.kafka.more"));
    assert_int_equal(set(&config, "kafka.n5", "again", NULL), 0);
    ph_options_free(table, &config);
    assert_int_equal(config.map.count, 0);
}

static void help(void **state)
{
    (void)state;
    struct ph_buf out;
    ph_buf_init(&out, 10000);
    ph_options_help(table, "sink", &out);
    const char *text = ph_buf_text(&out);
    assert_non_null(strstr(text, "sink.kind=one|two|three"));
    assert_non_null(strstr(text, "a time (default 50ms)\n"));
    assert_non_null(strstr(text, "sink.kafka.*=TEXT"));
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    assert_int_equal(lines, COUNT(table) - 1);
    ph_buf_free(&out);
}

static void memory_fails(void **state)
{
    (void)state;
    for (long ok = 0; ok < 2; ok++) {
        struct config config = {0};
        struct ph_error err = {0};
        unit_memory_fail_after(ok);
        int rc = set(&config, "kafka.a", "b", &err);
        assert_int_equal(rc, PH_E_NOMEM);
        assert_int_equal(config.map.count, 0);
        unit_memory_fail_after(0);
        assert_int_equal(set(&config, "text", "b", &err), PH_E_NOMEM);
        assert_non_null(strstr(err.text, "sink.text"));
        assert_int_equal(ph_options_defaults(table, &config, &err), PH_E_NOMEM);
        unit_memory_fail_after(-1);
        ph_options_free(table, &config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refused_zero_byte),
        cmocka_unit_test(long_names_and_values_are_cut),
        cmocka_unit_test(maps),
        cmocka_unit_test(help),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests_name("core/option", tests, unit_memory_watch,
                                       unit_memory_restore);
}
