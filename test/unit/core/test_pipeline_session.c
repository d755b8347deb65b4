/* How a pipeline begins, goes on and is told to end: checkpoints of log and sink, starts, faults
 * that a person must mend, and how often it stores. */
#include "unit.h"

#include "pipeline_rig.h"

static void finish(struct rig *rig, struct instance *inst)
{
    rig_assert_kept(rig);
    rig_instance_free(inst);
    rig_free(rig);
}

static void stop_before_it_began(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    rig_append(rig, 10, 0);
    ph_stop_request(&inst->stop);
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_int_equal(inst->opens + inst->sink_opens + inst->submits, 0);
    finish(rig, inst);
}

static void stores_at_most_once_an_interval(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.settle_interval_ms = 100;
    rig_start(inst);
    int64_t before = ph_clock_mono_us();
    while (ph_clock_mono_us() - before < 1000000) {
        rig_append(rig, 1, 0);
        (void)ph_stop_wait(NULL, 1);
    }
    AWAIT(ph_memory_store_count(rig->store) == rig->count);
    int settles = inst->settles;
    int64_t intervals = (ph_clock_mono_us() - before) / 100000;
    assert_int_equal(rig_stop(inst), 0);
    assert_true(settles >= 3 && settles <= intervals + 3);
    assert_true(inst->submits > 3 * settles);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

/* A pipeline that is stopped or idle has stored all it knows, whatever the interval. */
static void an_idle_end_is_stored(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    struct ph_position stored = {0, 0};
    inst->config.options.settle_interval_ms = 20;
    rig_append(rig, 25, 10);
    rig_start(inst);
    AWAIT(rig_stored(rig, &stored) && stored.position == 25);
    int settles = inst->settles;
    for (int i = 0; i < 3; i++) {
        int64_t tick = ph_memory_log_tick(rig->log);
        AWAIT(rig_stored(rig, &stored) && stored.tick == tick);
        assert_int_equal(ph_position_cmp(stored, (struct ph_position){tick, 0}), 0);
    }
    assert_true(inst->settles <= settles + 3);
    settles = inst->settles;
    (void)ph_stop_wait(NULL, 100); /* nothing new: nothing is stored */
    assert_int_equal(inst->settles, settles);
    rig_append(rig, 1, 0);
    assert_int_equal(rig_stop(inst), 0);
    rig_assert_kept(rig);
    finish(rig, inst);
}

static void storing_takes_its_time(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.once = true;
    rig_append(rig, 300, 20);
    ph_memory_log_stall(rig->log, PH_MEMORY_SETTLE, 200);
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

static void latest_begins_behind_what_is_there(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_append(rig, 30, 7);
    for (int i = 0; i < 2; i++) {
        struct instance *inst = rig_instance(rig);
        inst->config.start.kind = PH_START_LATEST;
        inst->config.once = true;
        rig_start(inst);
        assert_int_equal(rig_join(inst), 0);
        rig_instance_free(inst);
        assert_int_equal(ph_memory_store_count(rig->store), i * 5);
        rig_append(rig, 5, 0); /* the second time there is a checkpoint: start means nothing */
    }
    rig_assert_kept(rig);
    rig_free(rig);
}

static void what_a_person_must_mend_ends_it(void **state)
{
    (void)state;
    static const struct {
        enum ph_memory_call call;
        unsigned after;
        int code;
    } rows[] = {
        {PH_MEMORY_OPEN, 0, PH_E_CONFIG},      {PH_MEMORY_OPEN, 0, PH_E_DIVERGED},
        {PH_MEMORY_LOAD, 0, PH_E_DATA},        {PH_MEMORY_FETCH, 2, PH_E_DATA},
        {PH_MEMORY_FETCH, 0, PH_E_CONFIG},     {PH_MEMORY_SETTLE, 1, PH_E_CONFIG},
        {PH_MEMORY_SETTLED, 0, PH_E_SOFTWARE}, {PH_MEMORY_CLAIM, 0, PH_E_CONFIG},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->may_repeat = true;
        rig_append(rig, 100, 7);
        ph_memory_log_fail(rig->log, rows[i].call, rows[i].after, 1, rows[i].code);
        rig_start(inst);
        assert_int_equal(rig_join(inst), rows[i].code);
        assert_int_equal(inst->err.code, rows[i].code);
        assert_true(strlen(inst->err.text) > 0);
        rig_assert_kept(rig);
        rig_instance_free(inst);
        assert_int_equal(rig_once(rig, NULL), 0); /* and then it goes on */
        (void)rig_finished(rig);
        rig_free(rig);
    }
}

/* What runs to an end by itself does not wait for a log that never answered; a daemon does. */
static void a_log_that_is_not_there_yet(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct ph_error err = {0};
    rig_append(rig, 30, 0);
    ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 0, 1, PH_E_UNAVAILABLE);
    assert_int_equal(rig_once(rig, &err), PH_E_UNAVAILABLE);
    ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 0, 1, PH_E_STANDBY);
    struct instance *inst = rig_instance(rig);
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_STANDBY);
    rig_instance_free(inst);
    ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 0, 5, PH_E_UNAVAILABLE);
    inst = rig_instance(rig);
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 30);
    assert_int_equal(rig_said("interrupted"), 1);
    ph_memory_log_fail(rig->log, PH_MEMORY_OPEN, 0, 3, PH_E_STANDBY); /* a switch-over */
    ph_memory_log_fail(rig->log, PH_MEMORY_FETCH, 0, 1, PH_E_UNAVAILABLE);
    AWAIT(inst->seeks == 2);
    rig_append(rig, 10, 0);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 40);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

static void a_broken_sink_ends_it(void **state)
{
    (void)state;
    static const int codes[] = {PH_E_CONFIG, PH_E_SOFTWARE, PH_E_DATA};
    for (size_t i = 0; i < COUNT(codes); i++) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        inst->config.options.drain_timeout_ms = 50;
        rig_append(rig, 100, 0);
        ph_memory_store_down(rig->store, 3, 1, codes[i]);
        rig_start(inst);
        assert_int_equal(rig_join(inst), codes[i]);
        assert_int_equal(inst->sink_closes, 1);
        rig_assert_kept(rig);
        rig_instance_free(inst);
        assert_int_equal(rig_once(rig, NULL), 0);
        (void)rig_finished(rig);
        rig_free(rig);
    }
}

static void no_log_and_no_store(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.from = "memory:nowhere";
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_CONFIG);
    rig_instance_free(inst);
    inst = rig_instance(rig);
    inst->config.to = "memory:nowhere";
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_CONFIG);
    assert_int_equal(inst->submits, 0);
    finish(rig, inst);
}

/* A sink that keeps the checkpoint with the events knows better than the log's copy. */
static void the_sinks_own_checkpoint_wins(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    ph_memory_store_keep_checkpoint(rig->store, true);
    struct instance *inst = rig_instance(rig);
    inst->config.options.drain_timeout_ms = 0;
    rig_append(rig, 200, 30);
    ph_memory_store_delay(rig->store, 1000000); /* delivered, but nobody learns of it */
    rig_start(inst);
    AWAIT(inst->submits == 3 * inst->config.options.window);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(inst->abandons, 1);
    rig_lock(rig);
    memset(rig->sent, true, 1 + (size_t)inst->submitted); /* the sink has said so in its way */
    rig_unlock(rig);
    rig_instance_free(inst);
    ph_memory_store_delay(rig->store, 0);
    assert_int_equal(rig_once(rig, NULL), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_free(rig);
}

static void a_log_that_lost_its_tail(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct ph_error err = {0};
    ph_memory_store_keep_checkpoint(rig->store, true);
    rig_append(rig, 30, 10);
    assert_int_equal(rig_once(rig, NULL), 0);
    ph_memory_log_fail_over(rig->log, 2); /* what the log stores itself is behind, too */
    struct ph_checkpoint_kept *kept = &rig->log->rows[0].checkpoint;
    kept->cp.at = (struct ph_position){2, 20};
    struct ph_checkpoint older = kept->cp;
    older.snapshot = older.base_snapshot = PH_STR("2.0");
    assert_int_equal(ph_checkpoint_keep(kept, &older, NULL), 0);
    size_t before = ph_memory_store_count(rig->store);
    assert_int_equal(rig_once(rig, &err), PH_E_DIVERGED);
    assert_non_null(strstr(err.text, "3-30"));
    assert_non_null(strstr(err.text, "2-20"));
    assert_int_equal(ph_memory_store_count(rig->store), before);
    rig_assert_kept(rig);
    rig_free(rig);
}

static void a_promotion_is_said(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_append(rig, 30, 10);
    assert_int_equal(rig_once(rig, NULL), 0);
    assert_int_equal(rig_said("timeline"), 0);
    ph_memory_log_fail_over(rig->log, INT64_MAX);
    rig_append(rig, 10, 0);
    assert_int_equal(rig_once(rig, NULL), 0);
    assert_int_equal(rig_said("timeline changed from 1 to 2"), 1);
    assert_int_equal(rig_finished(rig), 0);
    rig_append(rig, 10, 0);
    assert_int_equal(rig_once(rig, NULL), 0); /* and stored: it is not said again */
    assert_int_equal(rig_said("timeline changed"), 1);
    assert_int_equal(rig_finished(rig), 0);
    rig_free(rig);
}

/* The log is gone for a moment while a running pipeline has settled more than it has stored. */
static void what_is_settled_is_not_sent_again(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.settle_interval_ms = 60000;
    rig_append(rig, 40, 0);
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 40);
    ph_memory_log_fail(rig->log, PH_MEMORY_SETTLE, 0, 2, PH_E_UNAVAILABLE);
    ph_memory_log_fail(rig->log, PH_MEMORY_FETCH, 0, 1, PH_E_UNAVAILABLE);
    AWAIT(inst->seeks == 2);
    rig_append(rig, 10, 0);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 50);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

/* Another instance was there meanwhile, or a person with adopt: what this one remembers does not
 * count. */
static void what_is_settled_counts_no_more_behind_another(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    inst->config.options.settle_interval_ms = 60000;
    inst->may_repeat = true;
    struct ph_position stored = {0, 0};
    rig_append(rig, 10, 0);
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 10);
    rig_append(rig, 30, 0); /* of which nothing is stored for a minute */
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 40);
    assert_true(rig_stored(rig, &stored) && stored.position <= 10);
    ph__memory_lock(rig->log);
    rig->log->rows[0].lease_epoch++;
    ph__memory_unlock(rig->log);
    AWAIT(inst->seeks == 2);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 80 - stored.position);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 40 - stored.position);
    finish(rig, inst);
}

/* --- a sink that keeps the checkpoint and does not answer at once ----------------------------- */

static struct {
    int failures, code; /* of resume */
    _Atomic int begins;
} asked;

static int failing_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    if (asked.failures > 0) {
        asked.failures--;
        return ph_fail(err, asked.code, "asked for by the test");
    }
    return watched_resume(ctx, ret, err);
}

static int counted_begin(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err)
{
    asked.begins++;
    return watched_sink_begin(ctx, cp, anew, err);
}

/* A rig whose sink holds the checkpoint of 30 events, and whose log has lost it. */
static struct rig *sink_knows_more(void)
{
    struct rig *rig = rig_new();
    ph_memory_store_keep_checkpoint(rig->store, true);
    rig_append(rig, 30, 10);
    assert_int_equal(rig_once(rig, NULL), 0);
    ph_checkpoint_kept_free(&rig->log->rows[0].checkpoint);
    rig_append(rig, 10, 10);
    return rig;
}

static void a_sink_that_was_away_is_asked_again(void **state)
{
    (void)state;
    struct rig *rig = sink_knows_more();
    struct instance *inst = rig_instance(rig);
    inst->sink.resume = failing_resume;
    asked.failures = 3;
    asked.code = PH_E_UNAVAILABLE;
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 10);
    assert_int_equal(asked.failures, 0);
    assert_int_equal(rig_stop(inst), 0);
    assert_true(inst->in_order);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

/* Nothing is stored, and the lease does not say that all is in order. */
static void a_refused_start_leaves_everything_as_it_was(void **state)
{
    (void)state;
    struct rig *rig = sink_knows_more();
    struct instance *inst = rig_instance(rig);
    struct ph_position stored;
    inst->sink.resume = failing_resume;
    asked.failures = 1;
    asked.code = PH_E_CONFIG;
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_CONFIG);
    assert_false(inst->in_order);
    assert_false(rig_stored(rig, &stored));
    rig_instance_free(inst);
    assert_int_equal(rig_once(rig, NULL), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_free(rig);
}

static int slow_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct instance *inst = ((struct watched *)ctx)->inst;
    int rc = watched_resume(ctx, ret, err);
    if (asked.failures > 0) {
        asked.failures--;
        inst->keeper_dead = true;
        (void)ph_stop_wait(NULL, 2 * (int)inst->config.options.lease_ms);
        inst->keeper_dead = false;
        asked.begins = 0;
    }
    return rc;
}

/* Who has the lease now may have begun before this one shut it out. */
static void a_lease_that_runs_out_while_the_sink_is_asked(void **state)
{
    (void)state;
    struct rig *rig = sink_knows_more();
    struct instance *inst = rig_instance(rig);
    inst->config.options.lease_ms = 500;
    inst->sink.resume = slow_resume;
    inst->sink.begin = counted_begin;
    asked.failures = 1;
    rig_start(inst);
    AWAIT(ph_pipeline_metrics(inst->pipeline)->events_sent == 10);
    assert_int_equal(rig_said("the lease ran out while the sink was asked"), 1);
    assert_int_equal(asked.begins, 1);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

static void one_event_larger_than_a_batch(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    char *headers = malloc(200100);
    assert_non_null(headers);
    memset(headers, 'x', 200100);
    memcpy(headers, "{\"h\":\"", 6);
    memcpy(headers + 200000, "\"}", 3);
    rig_append(rig, 5, 0);
    (void)rig_append_with(rig, headers);
    rig_append(rig, 5, 0);
    free(headers);
    inst->config.once = true;
    inst->config.options.batch_bytes = 65536;
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    finish(rig, inst);
}

static void memory_that_is_not_there(void **state)
{
    (void)state;
    for (long ok = 0; ok < 200; ok++) {
        struct rig *rig = rig_new();
        struct instance *inst = rig_instance(rig);
        struct ph_error err = {0};
        inst->config.options.batch_events = 2;
        inst->config.options.window = 2;
        (void)unit_memory_watch(NULL);
        unit_memory_fail_after(ok);
        int rc = ph_pipeline_new(&inst->config, &inst->stop, &inst->pipeline, &err);
        if (rc == 0) {
            ph_pipeline_free(inst->pipeline);
        }
        assert_int_equal(unit_memory_restore(NULL), 0);
        assert_true(rc == 0 || (rc == PH_E_NOMEM && err.code == rc));
        inst->pipeline = NULL;
        rig_instance_free(inst);
        rig_free(rig);
        if (rc == 0) {
            assert_true(ok > 3);
            return;
        }
    }
    fail();
}

static void a_template_that_cannot_be(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = rig_instance(rig);
    struct ph_error err = {0};
    assert_int_equal(ph_option_set(ph_route_options, &inst->route, "route", PH_STR("topic"),
                                   PH_STR("out.{colour}"), &err),
                     0);
    assert_int_equal(ph_pipeline_new(&inst->config, &inst->stop, &inst->pipeline, &err),
                     PH_E_CONFIG);
    assert_null(inst->pipeline);
    finish(rig, inst);
}

static void table_of_options(void **state)
{
    (void)state;
    struct ph_pipeline_options options = {0};
    struct ph_error err = {0};
    assert_int_equal(ph_options_defaults(ph_pipeline_option_table, &options, &err), 0);
    assert_string_equal(options.start, "earliest");
    assert_int_equal(options.window, 4);
    assert_int_equal(options.settle_interval_ms, 100);
    assert_int_equal(options.drain_timeout_ms, 10000);
    assert_int_equal(options.delivery, PH_AT_LEAST_ONCE);
    assert_int_equal(options.batch_bytes, 4 << 20);
    assert_int_equal(options.lease_ms, 5000);
    static const char *const bad[][2] = {{"window", "0"},         {"window", "65"},
                                         {"batch_events", "0"},   {"lease", "499ms"},
                                         {"delivery", "perhaps"}, {"settle_interval", "0"},
                                         {"batch_bytes", "1"},    {"drain_timeout", "-1s"}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(ph_option_set(ph_pipeline_option_table, &options, "",
                                       ph_str_from(bad[i][0]), ph_str_from(bad[i][1]), &err),
                         PH_E_CONFIG);
    }
    ph_options_free(ph_pipeline_option_table, &options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_before_it_began),
        cmocka_unit_test(stores_at_most_once_an_interval),
        cmocka_unit_test(an_idle_end_is_stored),
        cmocka_unit_test(storing_takes_its_time),
        cmocka_unit_test(latest_begins_behind_what_is_there),
        cmocka_unit_test(what_a_person_must_mend_ends_it),
        cmocka_unit_test(a_log_that_is_not_there_yet),
        cmocka_unit_test(a_broken_sink_ends_it),
        cmocka_unit_test(no_log_and_no_store),
        cmocka_unit_test(the_sinks_own_checkpoint_wins),
        cmocka_unit_test(a_log_that_lost_its_tail),
        cmocka_unit_test(a_promotion_is_said),
        cmocka_unit_test(what_is_settled_is_not_sent_again),
        cmocka_unit_test(what_is_settled_counts_no_more_behind_another),
        cmocka_unit_test(a_sink_that_was_away_is_asked_again),
        cmocka_unit_test(a_refused_start_leaves_everything_as_it_was),
        cmocka_unit_test(a_lease_that_runs_out_while_the_sink_is_asked),
        cmocka_unit_test(one_event_larger_than_a_batch),
        cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(a_template_that_cannot_be),
        cmocka_unit_test(table_of_options),
    };
    ph_log_to(rig_take_line, NULL);
    return cmocka_run_group_tests_name("pipeline_session", tests, NULL, NULL);
}
