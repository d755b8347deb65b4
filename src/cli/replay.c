/*
 * Submits a pipeline's settled events once more, to another destination.
 * Place: below the command replay; reads with the source driver, as the pipeline does, and submits
 * with a sink driver. Promise: reads no further than the checkpoint that was stored when it began,
 * claims no lease and writes no checkpoint, so that the pipeline may run meanwhile; every wait has
 * an end; one batch is in flight at a time.
 */
#include "cli/replay.h"

#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/database.h"

#define SOURCE_WAIT_MS 60000 /* without a batch, before the log is given up */
#define SINK_WAIT_MS   60000 /* without a verdict, before the sink is given up */
#define POLL_MS        500
#define TRIES          3 /* of an event that the sink asks to try again */

struct run {
    const struct ph_replay *replay;
    struct ph_replay_result *found;
    struct ph_position bound; /* the last event that the pipeline has settled */
    struct ph_stop stop;
    struct ph_source_env source_env;
    struct ph_sink_env sink_env;
    void *source, *sink;
    struct ph_route *route, *own_route;
    struct ph_batch *in;     /* as it was fetched */
    struct ph_batch *flight; /* what is submitted of it; its texts are in's */
    int64_t retried_position;
    int retries;
    bool over; /* the bound or the end of the log is reached */
};

static void warn(const char *pipeline, const char *text)
{
    ph_log(PH_LOG_WARN, pipeline, "%s", text);
}

static void count_refused(struct run *run, const struct ph_event *event, const char *cause)
{
    char id[PH_UUID_TEXT_LEN + 1];
    ph_uuid_format(&event->id, id);
    if (run->found->refused++ == 0) {
        (void)snprintf(run->found->why, sizeof run->found->why, "event %s at %lld-%lld: %s", id,
                       (long long)event->span->tick, (long long)event->position,
                       cause ? cause : "no cause was given");
    }
}

/* --- how far the pipeline is -------------------------------------------------------------------
 */

struct bound {
    struct ph_position least;
    size_t shards, begun;
};

static int take_shard(void *arg, const struct ph_outbox_status *status)
{
    struct bound *bound = arg;
    struct ph_position at;
    bound->shards++;
    if (status->tick && ph_str_i64(ph_str_from(status->tick), &at.tick) &&
        ph_str_i64(ph_str_from(status->position), &at.position)) {
        if (bound->begun++ == 0 || ph_position_cmp(at, bound->least) < 0) {
            bound->least = at;
        }
    }
    return 0;
}

/* The place that all shards of the pipeline have reached. */
static int find_bound(struct run *run, struct ph_error *err)
{
    const struct ph_pipeline_config *config = run->replay->config;
    struct ph_database db;
    struct bound bound = {.shards = 0};
    int rc = ph_database_open(&db, config->from, "replay", err);
    if (rc == 0) {
        rc = db.driver->status(db.ctx, config->name, take_shard, &bound, err);
    }
    ph_database_close(&db);
    if (rc == 0 && (bound.begun == 0 || bound.begun < bound.shards)) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline %s has no checkpoint in this log, so there is nothing to replay; "
                       "posthorn status names the pipelines that have one",
                       config->name);
    }
    run->bound = bound.least;
    return rc;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static void wait_for_log(struct run *run)
{
    const struct ph_source_driver *driver = run->replay->config->source;
    int64_t left_ms = (driver->due_us(run->source) - ph_clock_mono_us()) / 1000 + 1;
    struct pollfd fd = {.fd = driver->fd(run->source), .events = POLLIN};
    int timeout = left_ms < 0 ? 0 : left_ms > POLL_MS ? POLL_MS : (int)left_ms;
    (void)ph_sys.poll(&fd, 1, timeout);
}

/* The next batch of the log; run->over instead when there is none. */
static int read_batch(struct run *run, struct ph_error *err)
{
    const struct ph_source_driver *driver = run->replay->config->source;
    int64_t until_us = ph_clock_mono_us() + SOURCE_WAIT_MS * 1000;
    ph_batch_reset(run->in);
    for (;;) {
        int rc = driver->fetch(run->source, run->in, err);
        if (rc < 0 || rc == PH_FETCH_BATCH) {
            return rc < 0 ? rc : 0;
        }
        if (driver->at_end(run->source)) {
            run->over = true;
            return 0;
        }
        if (ph_clock_mono_us() > until_us) {
            return ph_fail(err, PH_E_UNAVAILABLE, "the log gave nothing for %d s",
                           SOURCE_WAIT_MS / 1000);
        }
        wait_for_log(run);
    }
}

/* --- choosing ----------------------------------------------------------------------------------
 */

static bool needs_route(const struct run *run)
{
    return run->replay->key || run->replay->config->sink->caps & PH_SINK_RECORDS;
}

/* Whether the event would go where it came to before; then nothing more may be submitted. */
static int refuse_own_topic(struct run *run, const struct ph_event *event, struct ph_error *err)
{
    struct ph_event own = *event;
    if (!run->own_route ||
        ph_route_event(run->own_route, &run->in->arena, &own, err) == PH_E_REFUSED) {
        ph_error_clear(err);
        return 0;
    }
    if (!ph_str_eq(own.topic, event->topic)) {
        return 0;
    }
    return ph_fail(err, PH_E_CONFIG,
                   "topic %.*s is where the pipeline delivers: replay to another one (--set "
                   "route.topic=...) or to another destination",
                   PH_STR_ARG(own.topic));
}

/* 1 when the event is wanted by topic and key, 0 when not or refused. */
static int route_takes(struct run *run, struct ph_event *event, struct ph_error *err)
{
    if (!needs_route(run)) {
        return 1;
    }
    int rc = ph_route_event(run->route, &run->in->arena, event, err);
    if (rc == PH_E_REFUSED) {
        count_refused(run, event, err->text);
        ph_error_clear(err);
        return 0;
    }
    if (rc < 0 || (run->replay->key && !ph_str_is(event->key, run->replay->key))) {
        return rc;
    }
    rc = refuse_own_topic(run, event, err);
    return rc < 0 ? rc : 1;
}

static int is_wanted(struct run *run, struct ph_event *event, struct ph_error *err)
{
    const struct ph_replay *replay = run->replay;
    if (ph_position_cmp(ph_event_at(event), run->bound) > 0) {
        run->over = true;
        return 0;
    }
    if (event->created_us < replay->since_us ||
        (replay->event_type && !ph_str_is(event->event_type, replay->event_type))) {
        return 0;
    }
    if (event->verdict != PH_PENDING) {
        count_refused(run, event, event->cause);
        return 0;
    }
    return route_takes(run, event, err);
}

/* Says that the event comes from a replay, so that a receiver can tell. */
static int mark_event(struct run *run, struct ph_event *event, struct ph_error *err)
{
    const struct ph_str mark = PH_STR("{\"posthorn-replay\":\"true\"");
    struct ph_json_walk walk = ph_json_walk_object(event->headers_json);
    struct ph_json_member member;
    bool any = event->headers_json.len > 0 && ph_json_next(&walk, &member, err) == 1;
    ph_error_clear(err); /* what is no object is refused by the route, by name */
    if (event->headers_json.len > 0 && !any && event->headers_json.ptr[0] != '{') {
        return 0;
    }
    size_t rest = any ? event->headers_json.len - 1 : 0;
    char *text = ph_arena_alloc(&run->in->arena, mark.len + rest + 2);
    if (!text) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a header");
    }
    memcpy(text, mark.ptr, mark.len);
    text[mark.len] = any ? ',' : '}';
    memcpy(text + mark.len + 1, event->headers_json.ptr + 1, rest);
    event->headers_json = (struct ph_str){text, mark.len + 1 + rest};
    return 0;
}

/* Leaves in the batch what is to be submitted. */
static int choose(struct run *run, struct ph_error *err)
{
    struct ph_batch *in = run->in;
    const struct ph_match_config *match = run->replay->config->match;
    size_t kept = 0;
    int rc = ph_match_wanted(match) ? ph_match_batch(match, in, err) : 0;
    for (size_t i = 0; rc >= 0 && i < in->count && !run->over; i++) {
        rc = is_wanted(run, &in->events[i], err);
        if (rc == 1) {
            in->events[kept] = in->events[i];
            rc = mark_event(run, &in->events[kept++], err);
        }
    }
    in->count = kept;
    in->refused = 0;
    return rc < 0 ? rc : 0;
}

static void remove_event(struct ph_batch *batch, size_t at)
{
    batch->count--;
    memmove(&batch->events[at], &batch->events[at + 1],
            (batch->count - at) * sizeof batch->events[0]);
}

/* Fills what a sink of records sends; an event that cannot be filled is taken out. */
static int dress(struct run *run, struct ph_error *err)
{
    struct ph_batch *in = run->in;
    while (run->replay->config->sink->caps & PH_SINK_RECORDS) {
        int routed = ph_route_batch(run->route, in, err);
        if (routed < 0 || (size_t)routed == in->count) {
            return routed < 0 ? routed : 0;
        }
        count_refused(run, &in->events[routed], in->events[routed].cause);
        remove_event(in, (size_t)routed);
        in->refused = 0;
    }
    return 0;
}

/* --- submitting --------------------------------------------------------------------------------
 */

/* After a refusal: which events are submitted again. The refused one is, as often as TRIES says
 * when the sink asks for it. */
static void take_rest(struct run *run)
{
    struct ph_batch *flight = run->flight;
    size_t kept = 0;
    for (size_t i = 0; i < flight->count; i++) {
        struct ph_event *event = &flight->events[i];
        if (event->verdict == PH_RETRY) {
            bool same = run->retried_position == event->position;
            run->retries = same ? run->retries + 1 : 1;
            run->retried_position = event->position;
        }
        if (event->verdict == PH_REJECT || (event->verdict == PH_RETRY && run->retries >= TRIES)) {
            count_refused(run, event, event->cause);
        } else if (event->verdict != PH_SENT) {
            event->verdict = PH_PENDING;
            event->mark = 0;
            event->cause = NULL;
            flight->events[kept++] = *event;
        }
    }
    ph_batch_reset(flight);
    flight->count = kept;
}

/* Polls until the batch is done, something of it is refused, or nothing moves any more. */
static int await(struct run *run, struct ph_error *err)
{
    const struct ph_sink_driver *driver = run->replay->config->sink;
    struct ph_batch *flight = run->flight;
    int64_t moved_us = ph_clock_mono_us();
    size_t settled = 0;
    while (!ph_batch_done(flight) && flight->refused == 0) {
        int rc = driver->poll(run->sink, POLL_MS, err);
        bool down = rc == PH_E_UNAVAILABLE || rc == PH_E_IO;
        if (rc < 0 && !down) {
            return rc;
        }
        if (flight->settled != settled) {
            settled = flight->settled;
            moved_us = ph_clock_mono_us();
        } else if (ph_clock_mono_us() - moved_us > SINK_WAIT_MS * 1000) {
            return down ? rc
                        : ph_fail(err, PH_E_UNAVAILABLE, "the sink gave no answer for %d s",
                                  SINK_WAIT_MS / 1000);
        }
        if (down) {
            (void)ph_stop_wait(NULL, POLL_MS);
        }
    }
    return 0;
}

static int deliver(struct run *run, struct ph_error *err)
{
    const struct ph_sink_driver *driver = run->replay->config->sink;
    struct ph_batch *flight = run->flight;
    ph_batch_reset(flight);
    memcpy(flight->events, run->in->events, run->in->count * sizeof flight->events[0]);
    flight->count = run->in->count;
    while (flight->count > 0) {
        int rc = driver->submit(run->sink, flight, err);
        if (rc == 0 || rc == PH_E_UNAVAILABLE || rc == PH_E_IO) { /* it keeps the batch */
            rc = await(run, err);
        }
        run->found->events += (int64_t)flight->settled;
        if (rc < 0 || ph_batch_done(flight)) {
            return rc;
        }
        driver->abandon(run->sink);
        take_rest(run);
    }
    return 0;
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static int open_source(struct run *run, struct ph_error *err)
{
    const struct ph_pipeline_config *config = run->replay->config;
    struct ph_start start = {
        .kind = run->replay->since_us ? PH_START_TIME : PH_START_EARLIEST,
        .time_us = run->replay->since_us,
    };
    struct ph_checkpoint from;
    run->source_env = (struct ph_source_env){
        .pipeline = config->name,
        .shards = 1,
        .instance = "replay",
        .uri = config->from,
        .batch_events = (size_t)config->options.batch_events,
        .batch_bytes = (size_t)config->options.batch_bytes,
        .stop = &run->stop,
    };
    int rc = config->source->open(&run->source_env, config->source_config, &run->source, err);
    if (rc == 0) {
        rc = config->source->begin(run->source, &start, &from, err);
    }
    return rc < 0 ? rc : config->source->seek(run->source, &from, err);
}

static int open_sink(struct run *run, struct ph_error *err)
{
    const struct ph_pipeline_config *config = run->replay->config;
    run->sink_env = (struct ph_sink_env){.pipeline = config->name,
                                         .uri = config->to,
                                         .window_batches = 1,
                                         .stop = &run->stop,
                                         .warn = warn};
    return config->sink->open(&run->sink_env, config->sink_config, &run->sink, err);
}

static int open_all(struct run *run, struct ph_error *err)
{
    const struct ph_replay *replay = run->replay;
    size_t events = (size_t)replay->config->options.batch_events;
    run->in = ph_batch_new(events, (size_t)1 << 31);
    run->flight = ph_batch_new(events, (size_t)1 << 24);
    if (!run->in || !run->flight) {
        return ph_fail(err, PH_E_NOMEM, "no memory for batches of %zu events", events);
    }
    int rc = find_bound(run, err);
    if (rc == 0) {
        rc = ph_route_new(replay->config->route, &run->route, err);
    }
    if (rc == 0 && replay->own_route) {
        rc = ph_route_new(replay->own_route, &run->own_route, err);
    }
    if (rc == 0) {
        rc = open_source(run, err);
    }
    return rc < 0 || replay->dry_run ? rc : open_sink(run, err);
}

static void close_all(struct run *run)
{
    const struct ph_pipeline_config *config = run->replay->config;
    if (run->sink) {
        config->sink->close(run->sink);
    }
    if (run->source) {
        config->source->close(run->source);
    }
    ph_route_free(run->route);
    ph_route_free(run->own_route);
    ph_batch_free(run->in);
    ph_batch_free(run->flight);
    ph_stop_free(&run->stop);
}

static int step(struct run *run, struct ph_error *err)
{
    int rc = read_batch(run, err);
    if (rc == 0) {
        rc = choose(run, err);
    }
    if (rc == 0) {
        rc = dress(run, err);
    }
    if (rc < 0 || run->replay->dry_run) {
        run->found->events += rc < 0 ? 0 : (int64_t)run->in->count;
        return rc;
    }
    return deliver(run, err);
}

int ph_replay_run(const struct ph_replay *replay, struct ph_replay_result *ret,
                  struct ph_error *err)
{
    *ret = (struct ph_replay_result){.events = 0};
    struct run run = {.replay = replay, .found = ret};
    int rc = ph_stop_init(&run.stop, err);
    if (rc < 0) {
        return rc;
    }
    rc = open_all(&run, err);
    while (rc == 0 && !run.over) {
        rc = step(&run, err);
    }
    close_all(&run);
    return rc;
}
