/* Checkpoints as the text that sinks keep: both ways, and what is refused. */
#include "unit.h"

#include "core/checkpoint_json.h"

#define WHOLE                                                                                    \
    "{\"version\":1,\"serial\":7,\"tick\":12,\"position\":345,\"snapshot\":\"10:20:12,13\","     \
    "\"base_snapshot\":\"10:19:\",\"start_snapshot\":\"3:3:\",\"log\":\"1:2:3\",\"timeline\":4," \
    "\"epoch\":5}"

static const struct ph_checkpoint example = {
    .at = {12, 345},
    .snapshot = {"10:20:12,13", 11},
    .base_snapshot = {"10:19:", 6},
    .start_snapshot = {"3:3:", 4},
    .log = {"1:2:3", 5},
    .timeline = 4,
    .epoch = 5,
};

static void written_and_read(void **state)
{
    (void)state;
    struct ph_buf text;
    struct ph_arena arena;
    struct ph_checkpoint back;
    int64_t serial = 0;
    struct ph_error err = {0};
    ph_buf_init(&text, 4096);
    ph_arena_init(&arena, 65536);
    ph_checkpoint_json(&example, 7, &text);
    assert_string_equal(ph_buf_text(&text), WHOLE);
    assert_int_equal(ph_checkpoint_json_parse(ph_buf_str(&text), &arena, &back, &serial, &err), 0);
    assert_int_equal(serial, 7);
    assert_int_equal(ph_position_cmp(back.at, example.at), 0);
    assert_true(ph_str_eq(back.snapshot, example.snapshot));
    assert_true(ph_str_eq(back.base_snapshot, example.base_snapshot));
    assert_true(ph_str_eq(back.start_snapshot, example.start_snapshot));
    assert_true(ph_str_eq(back.log, example.log));
    assert_int_equal(back.timeline, 4);
    assert_int_equal(back.epoch, 5);
    assert_int_equal(back.in_sink, PH_SINK_NEVER);
    ph_buf_free(&text);
    ph_arena_free(&arena);
}

static int parse(const char *text, struct ph_error *err)
{
    struct ph_arena arena;
    struct ph_checkpoint cp;
    int64_t serial;
    ph_arena_init(&arena, 65536);
    int rc = ph_checkpoint_json_parse(ph_str_from(text), &arena, &cp, &serial, err);
    ph_arena_free(&arena);
    return rc;
}

/* Replaces the first `from` of the whole text. */
static int parse_with(const char *from, const char *to, struct ph_error *err)
{
    char text[1024];
    const char *at = strstr(WHOLE, from);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - WHOLE), WHOLE, to, at + strlen(from));
    return parse(text, err);
}

static void what_is_not_whole_is_refused(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"\"tick\":12,", ""},
        {"\"log\":\"1:2:3\",", ""},
        {"\"version\":1", "\"version\":0"},
        {"12,\"pos", "\"12\",\"pos"},
        {"345", "-345"},
        {"345", "3.5"},
        {"345", "99999999999999999999"},
        {"\"3:3:\"", "3"},
        {"\"timeline\":4", "\"timeline\":4000000000"},
        {"\"serial\":7", "\"serial\":7,\"serial\":8"},
        {"}", ""},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct ph_error err = {0};
        if (parse_with(broken[i][0], broken[i][1], &err) != PH_E_DATA || err.text[0] == '\0') {
            fail_msg("%s for %s was taken", broken[i][1], broken[i][0]);
        }
    }
    struct ph_error err = {0};
    assert_int_equal(parse("", &err), PH_E_DATA);
    assert_int_equal(parse("[]", &err), PH_E_DATA);
}

/* A newer posthorn may know more; what this one needs is there. */
static void what_is_not_known_is_passed_over(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(parse_with("\"version\":1", "\"version\":2,\"more\":{\"a\":[1]}", &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(what_is_not_whole_is_refused),
        cmocka_unit_test(what_is_not_known_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
