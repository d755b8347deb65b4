/* The memory sink: delivery, verdicts in order, refusals, DOWN, delay, abandon, its checkpoint. */
#include "unit.h"

#include "sink/memory.h"

static const struct ph_sink_driver *const driver = &ph_sink_memory;
static const struct ph_tick_span span = {
    .tick = 7, .snapshot = {"7.0", 3}, .base_snapshot = {"6.0", 3}};

struct fixture {
    struct ph_memory_store *store;
    struct ph_sink_env env;
    struct ph_batch *batches[3];
    void *ctx;
};

static struct ph_batch *batch_of(size_t count, int64_t first)
{
    struct ph_batch *batch = ph_batch_new(4, 1 << 20);
    assert_non_null(batch);
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = ph_batch_add(batch);
        event->span = &span;
        event->position = first + (int64_t)i;
        event->topic = PH_STR("orders");
        event->key = PH_STR("k");
        event->body = PH_STR("{}");
    }
    batch->has_end = true;
    batch->end = (struct ph_checkpoint){.at = {8, 0},
                                        .snapshot = PH_STR("8.0"),
                                        .base_snapshot = PH_STR("8.0"),
                                        .start_snapshot = PH_STR("0.0"),
                                        .timeline = 1,
                                        .epoch = 3};
    return batch;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    f->store = ph_memory_store_get("test");
    f->env = (struct ph_sink_env){.pipeline = "p", .uri = "memory:test", .window_batches = 3};
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        f->batches[i] = batch_of(3, (int64_t)(10 * i + 1));
    }
    return f->store && driver->open(&f->env, NULL, &f->ctx, NULL) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    driver->close(f->ctx);
    driver->close(NULL);
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        ph_batch_free(f->batches[i]);
    }
    ph_memory_store_put(f->store);
    free(f);
    return unit_memory_restore(state);
}

static void submit_all(struct fixture *f)
{
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        assert_int_equal(driver->submit(f->ctx, f->batches[i], NULL), 0);
    }
}

static void check_verdicts(const struct fixture *f, const char *expected)
{
    char text[16] = "";
    size_t len = 0;
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        for (size_t k = 0; k < f->batches[i]->count; k++) {
            text[len++] = ".srx"[f->batches[i]->events[k].verdict];
        }
    }
    assert_string_equal(text, expected);
}

static void delivers(void **state)
{
    struct fixture *f = *state;
    struct ph_header header = {PH_STR("name"), PH_STR("value")};
    f->batches[0]->events[1].headers = &header;
    f->batches[0]->events[1].header_count = 1;
    f->batches[0]->events[2].key = f->batches[0]->events[2].body = (struct ph_str){NULL, 0};
    f->batches[0]->events[1].id.bytes[0] = 5;
    submit_all(f);
    check_verdicts(f, ".........");
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "sssssssss");
    assert_int_equal(ph_memory_store_count(f->store), 9);
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        ph_batch_reset(f->batches[i]);
    }
    struct ph_memory_record record;
    assert_true(ph_memory_store_record(f->store, 1, &record));
    assert_int_equal(record.id.bytes[0], 5);
    assert_int_equal(record.at.tick, 7);
    assert_int_equal(record.at.position, 2);
    assert_str(record.topic, "orders");
    assert_int_equal(record.header_count, 1);
    assert_str(record.headers[0].name, "name");
    assert_str(record.headers[0].value, "value");
    assert_true(ph_memory_store_record(f->store, 2, &record));
    assert_null(record.key.ptr);
    assert_null(record.body.ptr);
    assert_false(ph_memory_store_record(f->store, 9, &record));
    ph_memory_store_clear(f->store);
    assert_int_equal(ph_memory_store_count(f->store), 0);
    assert_int_equal(driver->fd(f->ctx), -1);
}

static void refusal_is_a_prefix(void **state)
{
    struct fixture *f = *state;
    ph_memory_store_refuse(f->store, 4, PH_REJECT, "poison");
    ph_memory_store_refuse(f->store, 100, PH_RETRY, "far away");
    submit_all(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    }
    check_verdicts(f, "ssssx....");
    assert_string_equal(f->batches[1]->events[1].cause, "poison");
    assert_int_equal(ph_memory_store_count(f->store), 4);
    driver->abandon(f->ctx);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ssssx....");
    assert_int_equal(driver->submit(f->ctx, f->batches[2], NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ssssx.sss");
}

static enum ph_verdict judge(void *arg, const struct ph_event *event, const char **cause)
{
    *cause = "judged";
    return event->position == *(int64_t *)arg ? PH_RETRY : PH_SENT;
}

static void judged(void **state)
{
    struct fixture *f = *state;
    int64_t position = 12;
    ph_memory_store_judge(f->store, judge, &position);
    submit_all(f);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ssssr....");
    assert_string_equal(f->batches[1]->events[1].cause, "judged");
    assert_int_equal(f->batches[0]->settled, 3);
    ph_memory_store_judge(f->store, NULL, NULL);
}

static void down_keeps_all(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    ph_memory_store_down(f->store, 1, 3, PH_E_UNAVAILABLE);
    assert_int_equal(driver->submit(f->ctx, f->batches[0], &err), 0);
    assert_int_equal(driver->submit(f->ctx, f->batches[1], &err), PH_E_UNAVAILABLE);
    assert_int_equal(driver->poll(f->ctx, 0, &err), PH_E_UNAVAILABLE);
    assert_non_null(strstr(err.text, "memory:test"));
    assert_int_equal(driver->submit(f->ctx, f->batches[2], &err), PH_E_UNAVAILABLE);
    assert_int_equal(ph_memory_store_count(f->store), 3);
    assert_int_equal(driver->poll(f->ctx, 0, &err), 0);
    check_verdicts(f, "sssssssss");
    assert_int_equal(ph_memory_store_count(f->store), 9);
}

static void delayed_verdicts(void **state)
{
    struct fixture *f = *state;
    ph_memory_store_delay(f->store, 2);
    assert_int_equal(driver->submit(f->ctx, f->batches[0], NULL), 0);
    assert_int_equal(ph_memory_store_count(f->store), 3);
    ph_memory_store_delay(f->store, 0);
    assert_int_equal(driver->submit(f->ctx, f->batches[1], NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 1, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, ".........");
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ssssss...");
}

static void abandon_after_delivery(void **state)
{
    struct fixture *f = *state;
    ph_memory_store_delay(f->store, 5);
    submit_all(f);
    driver->abandon(f->ctx);
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        ph_batch_reset(f->batches[i]);
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    }
    assert_int_equal(ph_memory_store_count(f->store), 9);
}

static void paced_verdicts(void **state)
{
    struct fixture *f = *state;
    ph_memory_store_pace(f->store, 2);
    submit_all(f);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ss.......");
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "ssss.....");
    ph_memory_store_pace(f->store, 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_verdicts(f, "sssssssss");
}

static void settled_events_are_left_alone(void **state)
{
    struct fixture *f = *state;
    ph_batch_verdict(f->batches[0], &f->batches[0]->events[0], PH_SENT, NULL);
    assert_int_equal(driver->submit(f->ctx, f->batches[0], NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_int_equal(f->batches[0]->settled, 3);
    assert_int_equal(ph_memory_store_count(f->store), 2);
}

static void own_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct ph_checkpoint cp;
    assert_int_equal(driver->resume(f->ctx, &cp, NULL), 0);
    ph_memory_store_keep_checkpoint(f->store, true);
    ph_memory_store_refuse(f->store, 4, PH_REJECT, NULL);
    submit_all(f);
    assert_int_equal(driver->resume(f->ctx, &cp, NULL), 1);
    assert_int_equal(cp.at.tick, 7);
    assert_int_equal(cp.at.position, 11);
    assert_str(cp.snapshot, "7.0");
    assert_str(cp.base_snapshot, "6.0");
    assert_str(cp.start_snapshot, "0.0");
    assert_int_equal(cp.epoch, 3);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    driver->abandon(f->ctx);
    ph_batch_reset(f->batches[0]);
    assert_int_equal(driver->submit(f->ctx, f->batches[2], NULL), 0);
    assert_int_equal(driver->resume(f->ctx, &cp, NULL), 1);
    assert_int_equal(cp.at.tick, 8);
    struct ph_checkpoint set = {.at = {99, 1}, .snapshot = PH_STR("99.0"), .timeline = 2};
    assert_int_equal(ph_memory_store_set_checkpoint(f->store, &set), 0);
    assert_int_equal(driver->resume(f->ctx, &cp, NULL), 1);
    assert_int_equal(cp.timeline, 2);
    assert_int_equal(ph_memory_store_set_checkpoint(f->store, NULL), 0);
    assert_int_equal(driver->resume(f->ctx, &cp, NULL), 0);
}

static int count_positions(void *arg, const struct ph_record *record)
{
    int64_t *sum = arg;
    *sum += record->at.position;
    return record->at.position == 12 ? 42 : 0;
}

static void scans(void **state)
{
    struct fixture *f = *state;
    f->batches[0]->events[1].topic = PH_STR("others");
    assert_int_equal(driver->submit(f->ctx, f->batches[0], NULL), 0);
    struct ph_str topics[] = {PH_STR("orders"), PH_STR("none")};
    int64_t sum = 0;
    assert_int_equal(driver->scan(&f->env, NULL, topics, 2, count_positions, &sum, NULL), 0);
    assert_int_equal(sum, 4);
    sum = 0;
    assert_int_equal(driver->scan(&f->env, NULL, NULL, 0, count_positions, &sum, NULL), 0);
    assert_int_equal(sum, 6);
    assert_int_equal(driver->submit(f->ctx, f->batches[1], NULL), 0);
    assert_int_equal(driver->scan(&f->env, NULL, NULL, 0, count_positions, &sum, NULL), 42);
    struct ph_sink_env env = {.uri = "memory:nobody", .window_batches = 1};
    void *ctx;
    assert_int_equal(driver->scan(&env, NULL, NULL, 0, count_positions, &sum, NULL), PH_E_CONFIG);
    assert_int_equal(driver->open(&env, NULL, &ctx, NULL), PH_E_CONFIG);
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    ph_memory_store_keep_checkpoint(f->store, true);
    unit_memory_fail_after(0);
    assert_int_equal(driver->submit(f->ctx, f->batches[0], NULL), PH_E_NOMEM);
    int rc = PH_E_NOMEM;
    for (long ok = 1; rc < 0; ok++) {
        unit_memory_fail_after(ok);
        rc = driver->poll(f->ctx, 0, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
        assert_true(ok < 50);
    }
    check_verdicts(f, "sss......");
    assert_int_equal(ph_memory_store_count(f->store), 3);
    void *ctx;
    for (long ok = 0; ok < 2; ok++) {
        unit_memory_fail_after(0);
        assert_int_equal(driver->open(&f->env, NULL, &ctx, NULL), PH_E_NOMEM);
        unit_memory_fail_after(ok);
        assert_null(ph_memory_store_get("another"));
    }
    unit_memory_fail_after(-1);
}

#define MEMORY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMORY_TEST(delivers),         MEMORY_TEST(refusal_is_a_prefix),
        MEMORY_TEST(judged),           MEMORY_TEST(down_keeps_all),
        MEMORY_TEST(delayed_verdicts), MEMORY_TEST(abandon_after_delivery),
        MEMORY_TEST(paced_verdicts),   MEMORY_TEST(settled_events_are_left_alone),
        MEMORY_TEST(own_checkpoint),   MEMORY_TEST(scans),
        MEMORY_TEST(memory_fails),
    };
    return cmocka_run_group_tests_name("sink/memory", tests, NULL, NULL);
}
