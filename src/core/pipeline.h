/*
 * One pipeline: one thread, one straight loop
 *     source.fetch -> batch -> route -> sink.submit / sink.poll -> verdict per event -> settle ->
 * checkpoint with a bounded window of batches in flight. Promise: an event's checkpoint is stored
 * only after the sink said SENT for it and for all before it; while the lease is not ours nothing
 * is submitted.
 */
#ifndef PH_CORE_PIPELINE_H
#define PH_CORE_PIPELINE_H

#include "core/match.h"
#include "core/route.h"
#include "core/sink.h"
#include "core/source.h"

/* What --set and later the configuration file can say below a pipeline. */
struct ph_pipeline_options {
    char *start;  /* earliest | latest | TIMESTAMP */
    int delivery; /* enum ph_delivery */
    int64_t batch_events, batch_bytes;
    int64_t window;             /* batches in flight */
    int64_t settle_interval_ms; /* a checkpoint at most this often */
    int64_t drain_timeout_ms;   /* at a stop, for what is in flight */
    int64_t lease_ms;
    int64_t maintain_interval_ms;
    int64_t backoff_initial_ms, backoff_max_ms;
    int on_dead; /* enum ph_on_dead */
    int64_t park_max;
    int64_t rate; /* events a second; 0: no limit */
    int64_t shards;
};

/* retry.*: the attempts of one event that fails. */
struct ph_retry_options {
    int64_t initial_ms, max_ms, multiplier;
    int64_t attempts; /* until it is dead */
};

/* What becomes of the key of a dead event. */
enum ph_on_dead { PH_ON_DEAD_HOLD, PH_ON_DEAD_SKIP, PH_ON_DEAD_STOP };

/* Exactly-once: the sink stores events and checkpoint in one step, and is asked at the start. */
enum ph_delivery { PH_AT_LEAST_ONCE, PH_EXACTLY_ONCE };

extern const struct ph_option ph_pipeline_option_table[];
extern const struct ph_option ph_retry_option_table[];

struct ph_pipeline_config {
    const char *name;
    const char *from, *to; /* URIs */
    const struct ph_source_driver *source;
    const void *source_config;
    const struct ph_sink_driver *sink;
    const void *sink_config;
    const struct ph_match_config *match; /* NULL: every event */
    const struct ph_route_config *route;
    struct ph_pipeline_options options;
    struct ph_retry_options retry;
    struct ph_start start;
    int shard; /* of options.shards */
    bool once; /* drain what is there and return */
};

/* What a pipeline did, readable from any thread while it runs. */
struct ph_pipeline_metrics {
    _Atomic int64_t events_sent, events_passed_over, batches, checkpoints, source_losses,
        sink_downs;
    _Atomic int64_t events_failed; /* attempts that were refused */
    _Atomic int64_t events_parked; /* that left the flow, for whatever reason */
    _Atomic int64_t events_dead;   /* that became so */
};

struct ph_pipeline;

/* Nothing is opened yet. config and what it points to must outlive the pipeline. */
int ph_pipeline_new(const struct ph_pipeline_config *config, struct ph_stop *stop,
                    struct ph_pipeline **ret, struct ph_error *err) PH_MUST_CHECK;
void ph_pipeline_free(struct ph_pipeline *pipeline);

/* Runs until stop is wanted (0, after draining within drain_timeout), the log is drained with
 * `once` (0), or a person must act: the error names the event or the option and what to do. */
int ph_pipeline_run(struct ph_pipeline *pipeline, struct ph_error *err) PH_MUST_CHECK;

/* What it did so far; readable from any thread until ph_pipeline_free. */
const struct ph_pipeline_metrics *ph_pipeline_metrics(const struct ph_pipeline *pipeline);

#endif
