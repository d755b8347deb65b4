/*
 * A pipeline's life: sessions, one after the other. A session ends when the log is lost (open
 * again, with backoff), when another instance takes over (stand by), when stop is wanted, or when a
 * person must act. Promise: what is in flight is given its time before a session ends; nothing is
 * forgotten between two sessions.
 */
#include "core/pipeline.h"

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "core/pipeline_parts.h"

static void warn(const char *pipeline, const char *text)
{
    ph_log(PH_LOG_WARN, pipeline, "%s", text);
}

/* With a rate, batches are small enough that it is kept within a tenth of a second. */
static int64_t batch_events(const struct ph_pipeline_options *options)
{
    int64_t tenth = options->rate > 10 ? options->rate / 10 : 1;
    return options->rate > 0 && tenth < options->batch_events ? tenth : options->batch_events;
}

static struct ph_batch *new_batch(const struct ph_pipeline *p)
{
    /* the arena holds the rows, what routing adds, and one event over the bound */
    return ph_batch_new(p->source_env.batch_events, (size_t)1 << 31);
}

/* A transaction holds several batches, and the next one's are to be ready when it is committed. */
static size_t window_of(const struct ph_pipeline_options *options)
{
    return (size_t)options->window * (options->delivery == PH_EXACTLY_ONCE ? 3 : 1);
}

/* One batch is being filled and one is ready beyond those in flight, so that reading never waits
 * for delivering; one more is for rows that come back. */
static int make_batches(struct ph_pipeline *p, struct ph_error *err)
{
    struct ph_parking *parking = &p->parking;
    parking->batch = new_batch(p);
    parking->changes = ph_mem_alloc(PH_PARK_CHANGES_MAX * sizeof *parking->changes);
    bool made = parking->batch && parking->changes;
    for (size_t i = 0; made && i < p->window + 2; i++) {
        struct ph_batch *batch = new_batch(p);
        made = batch != NULL;
        if (made) {
            ph_batch_queue_put(&p->free, batch);
        }
    }
    return made ? 0
                : ph_fail(err, PH_E_NOMEM, "no memory for batches of %lld events",
                          (long long)p->options->batch_events);
}

int ph_pipeline_new(const struct ph_pipeline_config *config, struct ph_stop *stop,
                    struct ph_pipeline **ret, struct ph_error *err)
{
    assert(config->source && config->sink && config->name && stop);
    struct ph_pipeline *p = ph_mem_zero(1, sizeof *p);
    if (!p) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a pipeline");
    }
    p->config = config;
    p->options = &config->options;
    p->window = window_of(p->options);
    p->stop = stop;
    p->source_env = (struct ph_source_env){
        .pipeline = config->name,
        .shard = config->shard,
        .shards = (int)config->options.shards,
        .instance = ph_lease_instance(),
        .uri = config->from,
        .batch_events = (size_t)batch_events(&config->options),
        .batch_bytes = (size_t)config->options.batch_bytes,
        .stop = stop,
    };
    p->sink_env = (struct ph_sink_env){
        .pipeline = config->name,
        .shard = config->shard,
        .shards = (int)config->options.shards,
        .exactly_once = config->options.delivery == PH_EXACTLY_ONCE,
        .uri = config->to,
        .window_batches = p->window + 1, /* one of rows that come back */
        .stop = stop,
        .warn = warn,
    };
    const struct ph_backoff backoff = {.initial_ms = config->options.backoff_initial_ms,
                                       .max_ms = config->options.backoff_max_ms};
    p->source_backoff = p->breaker.backoff = backoff;
    int rc = ph_route_new(config->route, &p->route, err);
    if (rc == 0) {
        rc = make_batches(p, err);
    }
    if (rc < 0) {
        ph_pipeline_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

static void free_batches(struct ph_batch_queue *queue)
{
    while (queue->head) {
        ph_batch_free(ph_batch_queue_take(queue));
    }
}

void ph_pipeline_free(struct ph_pipeline *p)
{
    if (!p) {
        return;
    }
    assert(!p->source && !p->sink && !p->lease);
    free_batches(&p->free);
    ph__park_free(p);
    ph_route_free(p->route);
    ph_checkpoint_kept_free(&p->settled);
    ph_mem_free(p->start_snapshot);
    ph_mem_free(p->log);
    ph_mem_free(p);
}

const struct ph_pipeline_metrics *ph_pipeline_metrics(const struct ph_pipeline *p)
{
    return &p->metrics;
}

/* A daemon waits for a database that is away. What never was open is another matter: a standby is a
 * mistake, and a run that ends by itself must not wait for ever. */
static bool hopeless_start(const struct ph_pipeline *p, int rc)
{
    return !p->was_open && (rc == PH_E_STANDBY || (rc == PH_E_UNAVAILABLE && p->config->once));
}

/* What follows the end of a session: 1 = open again, 0 = over, or the error to return. */
static int after_session(struct ph_pipeline *p, int rc, struct ph_error *err)
{
    if (rc == 0 || rc == PH_E_STOPPED) {
        return 0;
    }
    if (rc == PH_FLOW_GIVE_UP) {
        ph_log(PH_LOG_INFO, p->config->name, "shard %d goes to another instance", p->config->shard);
        ph_lease_yield(p->lease, p->epoch);
        return 1;
    }
    if (rc == PH_E_FENCED) {
        ph_log(PH_LOG_WARN, p->config->name, "fenced: %s", err->text);
        ph_lease_drop(p->lease, p->epoch);
        return 1;
    }
    if (hopeless_start(p, rc) || p->sink_hopeless || rc == PH_E_DATA ||
        ph_code_class(rc) != PH_RETRIABLE) {
        if (p->lease) {
            ph_lease_report(p->lease, err->text);
        }
        return rc;
    }
    if (!p->source_lost) {
        p->source_lost = true;
        p->metrics.source_losses++;
        ph_log(PH_LOG_WARN, p->config->name, "interrupted, going on as soon as possible: %s",
               err->text);
        if (p->lease) {
            ph_lease_report(p->lease, err->text);
        }
    }
    (void)ph_stop_wait(p->stop, (int)ph_backoff_next(&p->source_backoff));
    return 1;
}

static int session(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = ph__session_open(p, err);
    if (rc < 0) {
        return rc;
    }
    if (p->source_lost) {
        p->source_lost = false;
        ph_log(PH_LOG_INFO, p->config->name, "back after the interruption");
    }
    ph_backoff_reset(&p->source_backoff);
    char at[PH_POSITION_TEXT_MAX];
    ph_position_format(p->settled.cp.at, at);
    char shard[48] = "";
    if (p->options->shards > 1) {
        (void)snprintf(shard, sizeof shard, " as shard %d of %lld", p->config->shard,
                       (long long)p->options->shards);
    }
    ph_log(PH_LOG_INFO, p->config->name, "delivering from %s under epoch %lld%s", at,
           (long long)p->epoch, shard);
    return ph__flow_run(p, err);
}

int ph_pipeline_run(struct ph_pipeline *p, struct ph_error *err)
{
    int more = 1;
    while (more == 1) {
        ph_error_clear(err);
        int rc = ph_stop_wanted(p->stop) ? PH_E_STOPPED : session(p, err);
        if (rc == PH_E_STOPPED && p->flight.head) {
            ph_log(PH_LOG_INFO, p->config->name,
                   "stopping once what is in flight has arrived, in %lld ms at the latest",
                   (long long)p->options->drain_timeout_ms);
        }
        /* when another instance owns the pipeline it sends what we had in flight */
        ph__flow_drain(p, rc == PH_E_FENCED ? 0 : p->options->drain_timeout_ms);
        ph__session_close(p);
        more = after_session(p, rc, err);
    }
    ph_lease_stop(p->lease);
    p->lease = NULL;
    if (p->sink) {
        p->config->sink->close(p->sink);
        p->sink = NULL;
    }
    return more;
}
