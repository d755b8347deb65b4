/* One instance of a pipeline between the memory source and the memory sink: what it delivers, what
 * it stores, and how it ends. */
#include "unit.h"

#include "pipeline_rig.h"

static uint64_t seed_state;

static uint64_t below(uint64_t bound)
{
    seed_state = seed_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed_state >> 33) % bound;
}

static void delivers_once_and_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        seed_state = seed;
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.once = true;
        inst->config.options.batch_events = (int64_t)(1 + below(20));
        inst->config.options.window = (int64_t)(1 + below(8));
        inst->config.options.settle_interval_ms = (int64_t)(1 + below(5));
        ph_memory_store_delay(rig->store, (unsigned)below(4));
        ph_memory_store_pace(rig->store, below(3) ? 1 + below(30) : 0);
        ph_memory_log_stall(rig->log, PH_MEMORY_FETCH, (unsigned)below(5));
        ph_memory_log_stall(rig->log, PH_MEMORY_SETTLE, (unsigned)below(5));
        rig_append(rig, 1 + below(300), below(2) ? 1 + below(60) : 0);
        rig_start(inst);
        if (rig_join(inst) != 0) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, inst->err.text);
        }
        assert_int_equal(rig_finished(rig), 0);
        const struct ph_pipeline_metrics *metrics = ph_pipeline_metrics(inst->pipeline);
        assert_int_equal(metrics->events_sent, (int64_t)rig->count);
        assert_int_equal(metrics->sink_downs + metrics->source_losses, 0);
        assert_int_equal(inst->sink_closes, inst->sink_opens);
        rig_instance_free(inst);
        rig_free(rig);
    }
}

static void once_on_an_empty_log(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct ph_error err = {0};
    struct ph_position stored = {9, 9};
    assert_int_equal(rig_once(rig, &err), 0);
    assert_true(rig_stored(rig, &stored)); /* so that it began is known */
    assert_int_equal(stored.tick, 0);
    assert_int_equal(ph_memory_store_count(rig->store), 0);
    assert_int_equal(ph_memory_log_tick(rig->log), 1);
    assert_int_equal(rig_once(rig, &err), 0);
    assert_true(rig_stored(rig, &stored));
    assert_int_equal(stored.tick, 1); /* an end without events moves it, too */
    rig_assert_kept(rig);
    rig_free(rig);
}

static void once_again_has_nothing_to_do(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_append(rig, 95, 30);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_once(rig, NULL), 0);
        assert_int_equal(rig_finished(rig), 0);
        rig_append(rig, 5, 0);
        assert_int_equal(rig_once(rig, NULL), 0);
        assert_int_equal(rig_finished(rig), 0);
    }
    rig_free(rig);
}

static void follows_the_log_until_stopped(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    rig_start(inst);
    for (int i = 0; i < 20; i++) {
        rig_append(rig, 1 + (size_t)i % 7, 0);
        AWAIT(ph_memory_store_count(rig->store) == rig->count);
    }
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(inst);
    rig_free(rig);
}

static void down_is_said_once(void **state)
{
    (void)state;
    for (unsigned after = 0; after < 12; after++) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.once = true;
        rig_append(rig, 120, 50);
        ph_memory_store_delay(rig->store, after % 3);
        ph_memory_store_down(rig->store, after, 9, after % 2 ? PH_E_UNAVAILABLE : PH_E_IO);
        rig_start(inst);
        assert_int_equal(rig_join(inst), 0);
        assert_int_equal(rig_finished(rig), 0);
        assert_int_equal(rig_said("the sink is down"), 1);
        assert_int_equal(rig_said("the sink is back"), 1);
        assert_int_equal(ph_pipeline_metrics(inst->pipeline)->sink_downs, 1);
        assert_non_null(rig->log->rows[0].last_error);
        rig_instance_free(inst);
        rig_free(rig);
    }
}

static void a_sink_that_stays_down_ends_no_stop(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.drain_timeout_ms = 50;
    rig_append(rig, 100, 0);
    ph_memory_store_down(rig->store, 5, 1000000, PH_E_UNAVAILABLE);
    rig_start(inst);
    AWAIT(rig_said("the sink is down") == 1);
    int64_t before = ph_clock_mono_us();
    assert_int_equal(rig_stop(inst), 0);
    assert_true(ph_clock_mono_us() - before < 3000000);
    rig_assert_kept(rig);
    rig_instance_free(inst);
    ph_memory_store_down(rig->store, 0, 0, 0);
    assert_int_equal(rig_once(rig, NULL), 0);
    (void)rig_finished(rig);
    rig_free(rig);
}

/* Events in batches that were not settled when the log was lost may come twice, others not. */
static void assert_few_repeated(struct rig *rig, const struct instance *inst, int losses)
{
    size_t repeated = rig_finished(rig);
    const struct ph_pipeline_options *options = &inst->config.options;
    assert_true(repeated <= (size_t)(losses * options->window * options->batch_events));
}

static void a_lost_log_is_opened_again(void **state)
{
    (void)state;
    static const enum ph_memory_call calls[] = {PH_MEMORY_FETCH, PH_MEMORY_SETTLE,
                                                PH_MEMORY_SETTLED};
    for (unsigned i = 0; i < 24; i++) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.once = true;
        inst->config.options.drain_timeout_ms = i % 2 ? 0 : 5000;
        inst->may_repeat = true; /* a checkpoint whose answer was lost may be stored */
        rig_append(rig, 200, 40);
        ph_memory_store_delay(rig->store, i % 4);
        ph_memory_log_fail(rig->log, calls[i % COUNT(calls)], i / 2, 1, PH_E_UNAVAILABLE);
        ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 1, i % 3, PH_E_UNAVAILABLE);
        ph_memory_log_fail(rig->log, PH_MEMORY_LOAD, 1, i % 2, PH_E_UNAVAILABLE);
        rig_start(inst);
        assert_int_equal(rig_join(inst), 0);
        assert_few_repeated(rig, inst, 1);
        if (i % 2 == 0) {
            assert_int_equal(rig_delivered(rig, rig->count), 0); /* all in flight came home */
        }
        int64_t losses = ph_pipeline_metrics(inst->pipeline)->source_losses;
        assert_int_equal(rig_said("interrupted"), losses);
        assert_int_equal(rig_said("back after the interruption"), losses);
        assert_int_equal(inst->sink_opens, 1);
        rig_instance_free(inst);
        rig_free(rig);
    }
}

/* The log is lost while the sink is down: what was in flight is abandoned. Both come back. */
static void both_are_lost(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.drain_timeout_ms = 20;
    rig_append(rig, 30, 0); /* few enough that it goes on asking the log */
    ph_memory_store_down(rig->store, 3, 1000000, PH_E_UNAVAILABLE);
    rig_start(inst);
    AWAIT(rig_said("the sink is down") == 1);
    ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 0, 2, PH_E_UNAVAILABLE);
    ph_memory_log_fail(rig->log, PH_MEMORY_FETCH, 0, 1, PH_E_UNAVAILABLE);
    AWAIT(inst->abandons >= 1 && inst->opens == 2);
    ph_memory_store_down(rig->store, 0, 0, 0);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent >= 30);
    assert_int_equal(rig_stop(inst), 0);
    assert_few_repeated(rig, inst, 1);
    assert_int_equal(rig_said("the sink is down"), 1);
    assert_int_equal(rig_said("the sink is back"), 1);
    rig_instance_free(inst);
    rig_free(rig);
}

/* A sink that went down just when it had confirmed everything. */
static void down_with_nothing_in_flight(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    rig_append(rig, 5, 0);
    ph_memory_store_down(rig->store, 1, 0, 0);
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 5);
    ph_memory_store_down(rig->store, 0, 3, PH_E_UNAVAILABLE);
    rig_append(rig, 5, 0);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 10);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(inst);
    rig_free(rig);
}

static void a_stop_drains_what_is_in_flight(void **state)
{
    (void)state;
    for (int64_t window = 1; window <= 8; window += 3) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.options.window = window;
        inst->config.options.settle_interval_ms = 60000;
        rig_append(rig, 500, 0);
        ph_memory_store_delay(rig->store, 40);
        rig_start(inst);
        AWAIT(inst->submits >= 1);
        assert_int_equal(rig_stop(inst), 0);
        struct ph_position stored;
        assert_true(rig_stored(rig, &stored));
        assert_int_equal(stored.position, inst->submitted); /* to the last one in flight */
        assert_int_equal(inst->abandons, 0);
        assert_int_equal(ph_memory_store_count(rig->store), inst->submitted);
        ph_memory_store_delay(rig->store, 0);
        rig_instance_free(inst);
        assert_int_equal(rig_once(rig, NULL), 0);
        assert_int_equal(rig_finished(rig), 0);
        rig_free(rig);
    }
}

static void a_drain_has_an_end(void **state)
{
    (void)state;
    for (int64_t limit_ms = 0; limit_ms <= 100; limit_ms += 50) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.options.drain_timeout_ms = limit_ms;
        rig_append(rig, 500, 0);
        ph_memory_store_delay(rig->store, 1000000);
        rig_start(inst);
        AWAIT(inst->submits == inst->config.options.window);
        int64_t before = ph_clock_mono_us();
        assert_int_equal(rig_stop(inst), 0);
        int64_t took_ms = (ph_clock_mono_us() - before) / 1000;
        assert_true(took_ms >= limit_ms - 1 && took_ms < limit_ms + 3000);
        assert_int_equal(inst->abandons, 1);
        assert_int_equal(ph_pipeline_metrics(inst->pipeline)->events_sent, 0);
        size_t in_flight = (size_t)inst->submitted;
        rig_instance_free(inst);
        ph_memory_store_delay(rig->store, 0);
        assert_int_equal(rig_once(rig, NULL), 0);
        assert_int_equal(rig_finished(rig), in_flight); /* each once more, no others */
        rig_free(rig);
    }
}

/* What the sink has said SENT for before the time was over is stored, even inside a batch. */
static void a_cut_drain_keeps_what_was_sent(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.batch_events = 100;
    inst->config.options.drain_timeout_ms = 0;
    inst->config.options.settle_interval_ms = 60000;
    rig_append(rig, 100, 100);
    ph_memory_store_pace(rig->store, 1);
    ph_memory_store_down(rig->store, 21, 1000000, PH_E_UNAVAILABLE);
    rig_start(inst);
    AWAIT(rig_said("the sink is down") == 1);
    assert_int_equal(rig_stop(inst), 0);
    struct ph_position stored;
    assert_true(rig_stored(rig, &stored));
    size_t sent = 0;
    while (rig->sent[sent + 1]) {
        sent++;
    }
    assert_true(sent > 10 && sent < 30);
    assert_int_equal(stored.position, sent);
    rig_assert_kept(rig);
    rig_instance_free(inst);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_once_and_in_order),
        cmocka_unit_test(once_on_an_empty_log),
        cmocka_unit_test(once_again_has_nothing_to_do),
        cmocka_unit_test(follows_the_log_until_stopped),
        cmocka_unit_test(down_is_said_once),
        cmocka_unit_test(a_sink_that_stays_down_ends_no_stop),
        cmocka_unit_test(a_lost_log_is_opened_again),
        cmocka_unit_test(both_are_lost),
        cmocka_unit_test(down_with_nothing_in_flight),
        cmocka_unit_test(a_stop_drains_what_is_in_flight),
        cmocka_unit_test(a_drain_has_an_end),
        cmocka_unit_test(a_cut_drain_keeps_what_was_sent),
    };
    ph_log_to(rig_take_line, NULL);
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
