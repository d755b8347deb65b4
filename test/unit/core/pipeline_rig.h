/*
 * What the pipeline tests share: a log and a store in memory, and instances of one pipeline between
 * them, each on a thread of its own, with watched drivers (pipeline_watch.h).
 */
#ifndef PH_TEST_PIPELINE_RIG_H
#define PH_TEST_PIPELINE_RIG_H

#include "pipeline_watch.h"

#define RIG_AWAIT_US 10000000

/* Waits until the condition holds; a test that waits in vain fails. */
#define AWAIT(condition)                                            \
    do {                                                            \
        int64_t await_until_us = ph_clock_mono_us() + RIG_AWAIT_US; \
        while (!(condition)) {                                      \
            assert_true(ph_clock_mono_us() < await_until_us);       \
            (void)ph_stop_wait(NULL, 1);                            \
        }                                                           \
    } while (0)

/* --- rigs and instances ----------------------------------------------------------------------- */

static inline struct rig *rig_new(void)
{
    static int number;
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    (void)snprintf(rig->name, sizeof rig->name, "rig%d", ++number);
    (void)snprintf(rig->from, sizeof rig->from, "memory:%s", rig->name);
    (void)snprintf(rig->to, sizeof rig->to, "memory:%s", rig->name);
    rig->log = ph_memory_log_get(rig->name);
    rig->store = ph_memory_store_get(rig->name);
    assert_true(rig->log && rig->store);
    (void)pthread_mutex_init(&rig->mutex, NULL);
    (void)pthread_mutex_lock(&rig_lines.mutex);
    rig_lines.len = 0;
    rig_lines.text[0] = '\0';
    (void)pthread_mutex_unlock(&rig_lines.mutex);
    return rig;
}

static inline void rig_free(struct rig *rig)
{
    ph_memory_log_put(rig->log);
    ph_memory_store_put(rig->store);
    (void)pthread_mutex_destroy(&rig->mutex);
    free(rig);
}

/* Appends an event of one of seven keys, with headers of its own. */
static inline int64_t rig_append_with(struct rig *rig, const char *headers)
{
    char id[32], payload[48];
    assert_true(rig->count < RIG_EVENTS_MAX);
    (void)snprintf(id, sizeof id, "order-%zu", rig->count % 7);
    (void)snprintf(payload, sizeof payload, "{\"n\":%zu}", rig->count + 1);
    struct ph_event event = {.aggregate_type = PH_STR("order"),
                             .aggregate_id = ph_str_from(id),
                             .event_type = PH_STR("placed"),
                             .payload = ph_str_from(payload),
                             .headers_json = ph_str_from(headers)};
    int64_t position = ph_memory_log_append(rig->log, &event);
    assert_int_equal(position, (int64_t)++rig->count);
    return position;
}

/* Appends events, a tick behind every per_tick of them (0: the reader makes the ticks). */
static inline void rig_append(struct rig *rig, size_t count, size_t per_tick)
{
    for (size_t i = 1; i <= count; i++) {
        (void)rig_append_with(rig, "{\"tenant\":\"t1\"}");
        if (per_tick > 0 && (i % per_tick == 0 || i == count)) {
            assert_true(ph_memory_log_tick(rig->log) > 0);
        }
    }
}

/* Where an event of the log stands; its tick must be made. */
static inline struct ph_position rig_at(struct rig *rig, int64_t position)
{
    struct ph_position at = {0, position};
    ph__memory_lock(rig->log);
    for (size_t i = 0; i < rig->log->told; i++) {
        if (rig->log->events[i].event.position == position) {
            at.tick = rig->log->events[i].tick;
        }
    }
    ph__memory_unlock(rig->log);
    assert_true(at.tick > 0);
    return at;
}

static inline struct instance *rig_instance(struct rig *rig)
{
    struct instance *inst = calloc(1, sizeof *inst);
    assert_non_null(inst);
    inst->rig = rig;
    inst->source = rig_source;
    inst->sink = rig_sink;
    inst->real_sink = &ph_sink_memory;
    assert_int_equal(ph_options_defaults(ph_route_options, &inst->route, NULL), 0);
    struct ph_pipeline_options *options = &inst->config.options;
    assert_int_equal(ph_options_defaults(ph_pipeline_option_table, options, NULL), 0);
    assert_int_equal(ph_options_defaults(ph_retry_option_table, &inst->config.retry, NULL), 0);
    options->batch_events = 10;
    options->settle_interval_ms = 2;
    options->drain_timeout_ms = 5000;
    options->lease_ms = 2000;
    options->backoff_initial_ms = 1;
    options->backoff_max_ms = 4;
    options->delivery = rig->store->keep_checkpoint ? PH_EXACTLY_ONCE : PH_AT_LEAST_ONCE;
    inst->config.name = "orders";
    inst->config.from = rig->from;
    inst->config.to = rig->to;
    inst->config.source = &inst->source;
    inst->config.source_config = inst;
    inst->config.sink = &inst->sink;
    inst->config.sink_config = inst;
    inst->config.route = &inst->route;
    assert_int_equal(ph_stop_init(&inst->stop, NULL), 0);
    return inst;
}

static inline void *rig_run(void *arg)
{
    struct instance *inst = arg;
    inst->rc = ph_pipeline_run(inst->pipeline, &inst->err);
    inst->over = true;
    return NULL;
}

static inline void rig_start(struct instance *inst)
{
    struct ph_error err = {0};
    if (ph_pipeline_new(&inst->config, &inst->stop, &inst->pipeline, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(pthread_create(&inst->thread, NULL, rig_run, inst), 0);
    inst->running = true;
}

/* Waits for the end of a run; its status. */
static inline int rig_join(struct instance *inst)
{
    AWAIT(inst->over);
    (void)pthread_join(inst->thread, NULL);
    inst->running = false;
    return inst->rc;
}

static inline int rig_stop(struct instance *inst)
{
    ph_stop_request(&inst->stop);
    return rig_join(inst);
}

static inline void rig_instance_free(struct instance *inst)
{
    assert_false(inst->running);
    ph_pipeline_free(inst->pipeline);
    ph_stop_free(&inst->stop);
    ph_options_free(ph_pipeline_option_table, &inst->config.options);
    ph_route_config_free(&inst->route);
    free(inst);
}

/* Runs a new instance with --once and the options of another, or the usual ones; its status. */
static inline int rig_once(struct rig *rig, struct ph_error *err)
{
    struct instance *inst = rig_instance(rig);
    inst->config.once = true;
    rig_start(inst);
    int rc = rig_join(inst);
    if (err) {
        *err = inst->err;
    }
    rig_instance_free(inst);
    return rc;
}

/* --- what was delivered ----------------------------------------------------------------------- */

static inline void rig_check_record(const struct ph_memory_record *record)
{
    char body[48], key[32];
    (void)snprintf(body, sizeof body, "{\"n\":%lld}", (long long)record->at.position);
    (void)snprintf(key, sizeof key, "order-%lld", (long long)((record->at.position - 1) % 7));
    assert_str(record->body, body);
    assert_str(record->key, key);
}

/* The first deliveries are all events from 1 to last, in order; returns how
 * many deliveries were repeated. */
static inline size_t rig_delivered(struct rig *rig, size_t last)
{
    size_t repeated = 0, due = 1, count = ph_memory_store_count(rig->store);
    for (size_t i = 0; i < count; i++) {
        struct ph_memory_record record;
        assert_true(ph_memory_store_record(rig->store, i, &record));
        rig_check_record(&record);
        size_t position = (size_t)record.at.position;
        if (position > due) {
            fail_msg("event %zu was delivered where %zu was due", position, due);
        }
        repeated += position < due;
        due += position == due;
    }
    if (due != last + 1) {
        fail_msg("event %zu was not delivered, or one too many (%zu expected)", due, last);
    }
    return repeated;
}

/* All is delivered, the checkpoint is behind the last event, every promise was kept; returns how
 * many deliveries were repeated. */
static inline size_t rig_finished(struct rig *rig)
{
    struct ph_position stored;
    size_t repeated = rig_delivered(rig, rig->count);
    rig_assert_kept(rig);
    assert_true(rig_stored(rig, &stored));
    if (rig->count > 0) {
        assert_true(ph_position_cmp(stored, rig_at(rig, (int64_t)rig->count)) >= 0);
    }
    return repeated;
}

#endif
