/* Matching: patterns, headers, what is left of a batch, and the checkpoint that passes over it. */
#include "unit.h"

#include "core/match.h"

static const struct ph_tick_span span = {
    .tick = 7, .snapshot = {"a:b:", 4}, .base_snapshot = {"a:a:", 4}};

struct fixture {
    struct ph_match_config config;
    struct ph_batch *batch;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    f->batch = ph_batch_new(8, 1 << 20);
    return f->batch ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unit_memory_fail_after(-1);
    ph_batch_free(f->batch);
    ph_options_free(ph_match_options, &f->config);
    free(f);
    return unit_memory_restore(state);
}

static void set(struct fixture *f, const char *name, const char *value)
{
    struct ph_error err = {0};
    if (ph_option_set(ph_match_options, &f->config, "match", ph_str_from(name), ph_str_from(value),
                      &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static struct ph_event *add(struct fixture *f, const char *type, const char *headers)
{
    struct ph_event *event = ph_batch_add(f->batch);
    assert_non_null(event);
    event->span = &span;
    event->position = (int64_t)f->batch->count;
    event->event_type = ph_str_from(type);
    event->aggregate_type = PH_STR("order");
    event->headers_json = ph_str_from(headers);
    return event;
}

static int matches(struct fixture *f, const char *type, const char *headers)
{
    struct ph_error err = {0};
    ph_batch_reset(f->batch);
    return ph_match_event(&f->config, &f->batch->arena, add(f, type, headers), &err);
}

static int apply(struct fixture *f)
{
    struct ph_error err = {0};
    return ph_match_batch(&f->config, f->batch, &err);
}

static void nothing_set_matches_all(void **state)
{
    struct fixture *f = *state;
    assert_false(ph_match_wanted(NULL));
    assert_false(ph_match_wanted(&f->config));
    assert_int_equal(matches(f, "OrderPlaced", "{}"), 1);
    set(f, "header.a", "*");
    assert_true(ph_match_wanted(&f->config));
}

static void patterns(void **state)
{
    static const struct {
        const char *pattern, *text;
        int takes;
    } rows[] = {
        {"OrderPlaced", "OrderPlaced", 1},
        {"OrderPlaced", "OrderPlacedX", 0},
        {"Order*", "OrderPlaced", 1},
        {"Order*", "Refund", 0},
        {"A|B", "B", 1},
        {"A|B", "A|B", 0},
        {"A|B*|C", "Box", 1},
        {"!A|B", "B", 0},
        {"!A|B", "C", 1},
        {"!*", "anything", 0},
        {"", "", 1},
        {"", "x", 0},
        {"!", "x", 1},
        {"A|", "", 1},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        set(f, "event_type", rows[i].pattern);
        if (matches(f, rows[i].text, "{}") != rows[i].takes) {
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
        }
    }
}

static void aggregate_type_and_event_type_must_both_match(void **state)
{
    struct fixture *f = *state;
    set(f, "aggregate_type", "order");
    set(f, "event_type", "A");
    assert_int_equal(matches(f, "A", "{}"), 1);
    assert_int_equal(matches(f, "B", "{}"), 0);
    set(f, "aggregate_type", "!order");
    assert_int_equal(matches(f, "A", "{}"), 0);
}

static void headers(void **state)
{
    struct fixture *f = *state;
    set(f, "header.priority", "high|urgent");
    assert_int_equal(matches(f, "A", "{\"priority\":\"high\"}"), 1);
    assert_int_equal(matches(f, "A", "{\"x\":1, \"pr\\u0069ority\": \"urg\\u0065nt\"}"), 1);
    assert_int_equal(matches(f, "A", "{\"priority\":\"low\"}"), 0);
    assert_int_equal(matches(f, "A", "{}"), 0);
    assert_int_equal(matches(f, "A", ""), 0);
    set(f, "header.priority", "!high");
    assert_int_equal(matches(f, "A", "{}"), 1);
    set(f, "header.n", "17");
    assert_int_equal(matches(f, "A", "{\"n\":17}"), 1);
}

static void unreadable_headers_are_not_passed_over(void **state)
{
    struct fixture *f = *state;
    set(f, "header.priority", "high");
    assert_int_equal(matches(f, "A", "[1]"), 1);
    assert_int_equal(matches(f, "A", "{\"a\":"), 1);
    assert_int_equal(matches(f, "A", "{\"priority\":\"\\ud800\"}"), 1);
}

static void the_rest_keeps_its_order_and_end(void **state)
{
    struct fixture *f = *state;
    set(f, "event_type", "keep*");
    add(f, "drop", "{}");
    add(f, "keep1", "{}");
    add(f, "drop", "{}");
    add(f, "keep2", "{}");
    assert_int_equal(apply(f), 2);
    assert_int_equal(f->batch->count, 2);
    assert_int_equal(f->batch->events[0].position, 2);
    assert_int_equal(f->batch->events[1].position, 4);
    assert_false(f->batch->has_end); /* the last event stayed: the checkpoint comes from it */
}

static void a_tail_that_goes_leaves_the_checkpoint_behind_it(void **state)
{
    struct fixture *f = *state;
    set(f, "event_type", "keep");
    add(f, "keep", "{}");
    add(f, "drop", "{}");
    add(f, "drop", "{}");
    assert_int_equal(apply(f), 2);
    assert_int_equal(f->batch->count, 1);
    assert_true(f->batch->has_end);
    assert_int_equal(f->batch->end.at.tick, 7);
    assert_int_equal(f->batch->end.at.position, 3);
    assert_true(ph_str_is(f->batch->end.snapshot, "a:b:"));
    assert_true(ph_str_is(f->batch->end.base_snapshot, "a:a:"));
}

static void the_source_s_own_end_stays(void **state)
{
    struct fixture *f = *state;
    set(f, "event_type", "keep");
    add(f, "drop", "{}");
    f->batch->has_end = true;
    f->batch->end.at = (struct ph_position){9, 99};
    assert_int_equal(apply(f), 1);
    assert_int_equal(f->batch->count, 0);
    assert_int_equal(f->batch->end.at.position, 99);
}

static void a_refused_row_that_is_not_ours_is_passed_over(void **state)
{
    struct fixture *f = *state;
    set(f, "event_type", "keep");
    ph_batch_verdict(f->batch, add(f, "drop", "{}"), PH_REJECT, "flawed");
    ph_batch_verdict(f->batch, add(f, "keep", "{}"), PH_REJECT, "flawed");
    assert_int_equal(apply(f), 1);
    assert_int_equal(f->batch->refused, 1);
    assert_true((&f->batch->events[0])->verdict > PH_SENT);
}

/* A source leaves out what it cannot read of a row that it refuses. */
static void a_refused_row_that_cannot_be_judged_is_not_passed_over(void **state)
{
    struct fixture *f = *state;
    set(f, "event_type", "keep");
    set(f, "header.priority", "high");
    struct ph_event *no_headers = add(f, "keep", "{}");
    no_headers->headers_json = (struct ph_str){NULL, 0};
    ph_batch_verdict(f->batch, no_headers, PH_REJECT, "flawed");
    struct ph_event *no_type = add(f, "keep", "{\"priority\":\"high\"}");
    no_type->event_type = (struct ph_str){NULL, 0};
    ph_batch_verdict(f->batch, no_type, PH_REJECT, "flawed");
    struct ph_event *not_ours = add(f, "drop", "{}");
    not_ours->headers_json = (struct ph_str){NULL, 0};
    ph_batch_verdict(f->batch, not_ours, PH_REJECT, "flawed");
    assert_int_equal(apply(f), 1);
    assert_int_equal(f->batch->refused, 2);
    assert_int_equal(f->batch->count, 2);
}

static void no_memory_is_an_error_and_drops_nothing(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    set(f, "header.priority", "high");
    add(f, "A", "{\"priority\":\"h\\u0069gh\"}");
    unit_memory_fail_after(0);
    int rc = ph_match_batch(&f->config, f->batch, &err);
    unit_memory_fail_after(-1);
    assert_int_equal(rc, PH_E_NOMEM);
    assert_int_equal(f->batch->count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_set_matches_all, setup, teardown),
        cmocka_unit_test_setup_teardown(patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(aggregate_type_and_event_type_must_both_match, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(headers, setup, teardown),
        cmocka_unit_test_setup_teardown(unreadable_headers_are_not_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_keeps_its_order_and_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_that_goes_leaves_the_checkpoint_behind_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_source_s_own_end_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_row_that_is_not_ours_is_passed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refused_row_that_cannot_be_judged_is_not_passed_over,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_is_an_error_and_drops_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
