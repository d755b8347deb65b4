/*
 * The watchers of the pipeline tests: drivers that stand before the memory source and a sink and
 * check the promises at every call:
 *   - an event is submitted right behind the one before it, and never when its checkpoint is
 * stored;
 *   - a checkpoint that is to be stored covers nothing that the sink has not said SENT for;
 *   - nothing is submitted while what was abandoned is not forgotten.
 * The first broken promise is kept in the rig, since other threads cannot fail a test.
 */
#ifndef PH_TEST_PIPELINE_WATCH_H
#define PH_TEST_PIPELINE_WATCH_H

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/pipeline.h"
#include "sink/memory_store.h"
#include "source/memory_log.h"

#define RIG_EVENTS_MAX  20000
#define RIG_FLIGHTS_MAX 64

struct rig {
    char name[32], from[48], to[48];
    struct ph_memory_log *log;
    struct ph_memory_store *store;
    size_t count;          /* events appended; positions 1 to count */
    pthread_mutex_t mutex; /* guards the rest */
    bool sent[RIG_EVENTS_MAX + 1];
    size_t checked; /* events from the log's start that are known to be sent or parked */
    char broken[512];
};

struct rig_flight {
    struct ph_batch *batch;
    uint64_t generation;
};

/* One instance of the pipeline. Set it up between rig_instance and rig_start. */
struct instance {
    struct rig *rig;
    struct ph_pipeline_config config;
    struct ph_route_config route;
    struct ph_stop stop;
    struct ph_pipeline *pipeline;
    pthread_t thread;
    bool running;
    int rc; /* of the run, with err: when it is over */
    struct ph_error err;
    struct ph_source_driver source; /* watched */
    struct ph_sink_driver sink;     /* watched */
    const struct ph_sink_driver *real_sink;
    void *sink_arg; /* a test's own sink finds its settings here */

    _Atomic bool over;
    _Atomic bool in_order;    /* the lease was last given back so */
    _Atomic bool keeper_dead; /* every call about the lease fails */
    _Atomic bool may_repeat;  /* do not check that what is submitted is not stored already */
    bool parks;               /* events leave the flow: what is submitted is not checked */
    _Atomic bool strict;      /* check that the lease, by the log's clock, is still its own */
    _Atomic int64_t flaw_at;  /* the source refuses the event of this position */
    _Atomic int64_t epoch;    /* of the last load */
    _Atomic int opens, seeks, submits, settles, abandons, sink_opens, sink_closes, polls;
    _Atomic int64_t submitted; /* events */
    _Atomic int64_t submit_us; /* when the last batch was submitted */
    size_t next;               /* index in the log of the event to submit next */
    struct rig_flight flights[RIG_FLIGHTS_MAX];
    size_t flight_count;
};

/* --- the log of the program ------------------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    char text[1 << 18];
    size_t len;
} rig_lines = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static inline void rig_take_line(const char *line, void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&rig_lines.mutex);
    size_t len = strlen(line);
    if (rig_lines.len + len + 2 < sizeof rig_lines.text) {
        memcpy(rig_lines.text + rig_lines.len, line, len);
        rig_lines.len += len;
        rig_lines.text[rig_lines.len++] = '\n';
        rig_lines.text[rig_lines.len] = '\0';
    }
    (void)pthread_mutex_unlock(&rig_lines.mutex);
}

/* How often the program said a text since the rig was made. */
static inline int rig_said(const char *text)
{
    int count = 0;
    (void)pthread_mutex_lock(&rig_lines.mutex);
    for (const char *at = rig_lines.text; (at = strstr(at, text)); at += strlen(text)) {
        count++;
    }
    (void)pthread_mutex_unlock(&rig_lines.mutex);
    return count;
}

/* --- promises --------------------------------------------------------------------------------- */

static inline void rig_lock(struct rig *rig)
{
    (void)pthread_mutex_lock(&rig->mutex);
}

static inline void rig_unlock(struct rig *rig)
{
    (void)pthread_mutex_unlock(&rig->mutex);
}

/* Keeps the first broken promise. */
__attribute__((format(printf, 2, 3))) static inline void rig_broken(struct rig *rig,
                                                                    const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    rig_lock(rig);
    if (rig->broken[0] == '\0') {
        (void)vsnprintf(rig->broken, sizeof rig->broken, fmt, args);
    }
    rig_unlock(rig);
    va_end(args);
}

static inline void rig_assert_kept(struct rig *rig)
{
    rig_lock(rig);
    char broken[sizeof rig->broken];
    memcpy(broken, rig->broken, sizeof broken);
    rig_unlock(rig);
    if (broken[0] != '\0') {
        fail_msg("%s", broken);
    }
}

/* The log is locked. */
static inline bool rig_is_parked(struct rig *rig, int64_t position)
{
    for (size_t i = 0; rig->log->row_count > 0 && i < rig->log->rows[0].parked_count; i++) {
        if (rig->log->rows[0].parked[i].kept.event.position == position) {
            return true;
        }
    }
    return false;
}

/* Everything the checkpoint covers is sent or parked. */
static inline void rig_check_covered(struct rig *rig, const struct ph_checkpoint *cp)
{
    ph__memory_lock(rig->log);
    rig_lock(rig);
    size_t covered = ph__memory_behind(rig->log, cp->at);
    int64_t missing = 0;
    for (size_t i = rig->checked; i < covered && missing == 0; i++) {
        int64_t position = rig->log->events[i].event.position;
        if (rig->sent[position] || rig_is_parked(rig, position)) {
            rig->checked = i + 1;
        } else {
            missing = position;
        }
    }
    rig_unlock(rig);
    ph__memory_unlock(rig->log);
    if (missing != 0) {
        rig_broken(rig, "checkpoint %lld-%lld is ahead of event %lld, which was not SENT",
                   (long long)cp->at.tick, (long long)cp->at.position, (long long)missing);
    }
}

/* The stored checkpoint; false when there is none. */
static inline bool rig_stored(struct rig *rig, struct ph_position *out)
{
    struct ph_checkpoint_kept kept = {0};
    int found = ph_memory_log_checkpoint(rig->log, "orders", 0, &kept);
    *out = kept.cp.at;
    ph_checkpoint_kept_free(&kept);
    return found == 1;
}

/* A strict instance only works while it owns the pipeline. */
static inline void rig_check_lease(struct instance *inst, const char *what)
{
    int64_t now_us = ph_clock_mono_us();
    ph__memory_lock(inst->rig->log);
    const struct ph_memory_row *row = ph__memory_row(inst->rig->log, "orders", 0);
    int64_t late_us = row ? now_us - row->expires_us : 0;
    bool ours = row && row->lease_epoch == inst->epoch && late_us < 0;
    ph__memory_unlock(inst->rig->log);
    if (inst->strict && !ours) {
        rig_broken(inst->rig, "%s %lld us behind the end of the lease", what, (long long)late_us);
    }
}

static inline void rig_check_submit(struct instance *inst, const struct ph_batch *batch)
{
    struct ph_position stored = {0, 0};
    bool any = rig_stored(inst->rig, &stored);
    rig_check_lease(inst, "a submit");
    if (inst->parks) {
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct ph_event *event = &batch->events[i];
        struct ph_position at = ph_event_at(event);
        ph__memory_lock(inst->rig->log);
        bool there = inst->next < inst->rig->log->told;
        int64_t due = there ? inst->rig->log->events[inst->next].event.position : -1;
        ph__memory_unlock(inst->rig->log);
        inst->next++;
        if (due != event->position) {
            rig_broken(inst->rig, "event %lld was submitted where %lld was due",
                       (long long)event->position, (long long)due);
        }
        if (any && ph_position_cmp(at, stored) <= 0 && !inst->may_repeat) {
            rig_broken(inst->rig, "event %lld-%lld was submitted, stored is %lld-%lld",
                       (long long)at.tick, (long long)at.position, (long long)stored.tick,
                       (long long)stored.position);
        }
        if (event->verdict != PH_PENDING) {
            rig_broken(inst->rig, "event %lld was submitted with a verdict",
                       (long long)event->position);
        }
    }
}

/* Notes what the sink has said SENT for. */
static inline void rig_note_verdicts(struct instance *inst)
{
    size_t kept = 0;
    rig_lock(inst->rig);
    for (size_t i = 0; i < inst->flight_count; i++) {
        struct rig_flight flight = inst->flights[i];
        bool open = false;
        if (flight.batch->generation != flight.generation) {
            continue;
        }
        for (size_t j = 0; j < flight.batch->count; j++) {
            const struct ph_event *event = &flight.batch->events[j];
            inst->rig->sent[event->position] |= event->verdict == PH_SENT;
            open |= event->verdict == PH_PENDING;
        }
        if (open) {
            inst->flights[kept++] = flight;
        }
    }
    inst->flight_count = kept;
    rig_unlock(inst->rig);
}

/* --- the watched source ----------------------------------------------------------------------- */

struct watched {
    struct instance *inst;
    void *real;
};

static inline struct watched *watch(const void *config, void *real)
{
    struct watched *w = malloc(sizeof *w);
    assert(w);
    *w = (struct watched){(struct instance *)(uintptr_t)config, real};
    return w;
}

#define REAL (&ph_source_memory)

static inline int watched_open(const struct ph_source_env *env, const void *config, void **ret,
                               struct ph_error *err)
{
    void *real = NULL;
    int rc = REAL->open(env, NULL, &real, err);
    if (rc == 0) {
        *ret = watch(config, real);
        ((struct watched *)*ret)->inst->opens++;
    }
    return rc;
}

static inline int watched_timeline(void *ctx)
{
    return REAL->timeline(((struct watched *)ctx)->real);
}

static inline int watched_load(void *ctx, int64_t epoch, struct ph_checkpoint *ret,
                               struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = REAL->load(w->real, epoch, ret, err);
    w->inst->epoch = rc < 0 ? w->inst->epoch : epoch;
    return rc;
}

static inline int watched_contains(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    return REAL->contains(((struct watched *)ctx)->real, cp, err);
}

static inline int watched_begin(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                                struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = REAL->begin(w->real, start, ret, err);
    if (rc == 0) { /* what lies before is nobody's */
        ph__memory_lock(w->inst->rig->log);
        rig_lock(w->inst->rig);
        w->inst->rig->checked = ph__memory_behind(w->inst->rig->log, ret->at);
        rig_unlock(w->inst->rig);
        ph__memory_unlock(w->inst->rig->log);
    }
    return rc;
}

static inline int watched_seek(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct watched *w = ctx;
    ph__memory_lock(w->inst->rig->log);
    w->inst->next = ph__memory_behind(w->inst->rig->log, cp->at);
    ph__memory_unlock(w->inst->rig->log);
    if (w->inst->flight_count > 0) {
        rig_broken(w->inst->rig, "a session begins with batches in flight");
    }
    w->inst->seeks++;
    return REAL->seek(w->real, cp, err);
}

static inline int watched_fetch(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = REAL->fetch(w->real, batch, err);
    for (size_t i = 0; rc == PH_FETCH_BATCH && i < batch->count; i++) {
        if (batch->events[i].position == w->inst->flaw_at) {
            ph_batch_verdict(batch, &batch->events[i], PH_REJECT, "the row makes no sense");
        }
    }
    return rc;
}

static inline int watched_fd(void *ctx)
{
    return REAL->fd(((struct watched *)ctx)->real);
}

static inline int64_t watched_due_us(void *ctx)
{
    return REAL->due_us(((struct watched *)ctx)->real);
}

static inline bool watched_at_end(void *ctx)
{
    return REAL->at_end(((struct watched *)ctx)->real);
}

static inline int watched_settle(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct watched *w = ctx;
    rig_check_covered(w->inst->rig, cp);
    rig_check_lease(w->inst, "a checkpoint");
    int rc = REAL->settle(w->real, cp, err);
    w->inst->settles += rc == 1;
    return rc;
}

static inline int watched_settled(void *ctx, int timeout_ms, struct ph_error *err)
{
    return REAL->settled(((struct watched *)ctx)->real, timeout_ms, err);
}

static inline int watched_held(void *ctx, int (*each)(void *arg, const struct ph_held *held),
                               void *arg, struct ph_park_totals *ret, struct ph_error *err)
{
    return REAL->held(((struct watched *)ctx)->real, each, arg, ret, err);
}

static inline int watched_park(void *ctx, int64_t epoch, const struct ph_park_change *changes,
                               size_t count, struct ph_error *err)
{
    struct watched *w = ctx;
    rig_check_lease(w->inst, "a change of parked rows");
    return REAL->park(w->real, epoch, changes, count, err);
}

static inline int watched_due(void *ctx, struct ph_batch *batch, struct ph_due *ret,
                              struct ph_error *err)
{
    return REAL->due(((struct watched *)ctx)->real, batch, ret, err);
}

static inline void watched_close(void *ctx)
{
    REAL->close(((struct watched *)ctx)->real);
    free(ctx);
}

static inline int watched_lease_open(const struct ph_source_env *env, const void *config,
                                     void **ret, struct ph_error *err)
{
    void *real = NULL;
    int rc = REAL->lease_open(env, NULL, &real, err);
    *ret = rc == 0 ? watch(config, real) : NULL;
    return rc;
}

static inline int keeper_fails(const struct watched *w, struct ph_error *err)
{
    return w->inst->keeper_dead ? ph_fail(err, PH_E_UNAVAILABLE, "the keeper is dead") : 0;
}

static inline int watched_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret,
                                struct ph_lease_said *said, struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = keeper_fails(w, err);
    return rc < 0 ? rc : REAL->lease_claim(w->real, owner, lease_ms, ret, said, err);
}

static inline int watched_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                                const char *last_error, struct ph_lease_said *said,
                                struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = keeper_fails(w, err);
    return rc < 0 ? rc : REAL->lease_renew(w->real, owner, epoch, lease_ms, last_error, said, err);
}

static inline int watched_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                                  struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = keeper_fails(w, err);
    w->inst->in_order = in_order;
    return rc < 0 ? rc : REAL->lease_release(w->real, owner, epoch, in_order, err);
}

static inline void watched_lease_close(void *ctx)
{
    REAL->lease_close(((struct watched *)ctx)->real);
    free(ctx);
}

static const struct ph_source_driver rig_source = {
    .name = "memory",
    .open = watched_open,
    .timeline = watched_timeline,
    .load = watched_load,
    .contains = watched_contains,
    .begin = watched_begin,
    .seek = watched_seek,
    .fetch = watched_fetch,
    .fd = watched_fd,
    .due_us = watched_due_us,
    .at_end = watched_at_end,
    .settle = watched_settle,
    .settled = watched_settled,
    .held = watched_held,
    .park = watched_park,
    .due = watched_due,
    .close = watched_close,
    .lease_open = watched_lease_open,
    .lease_claim = watched_claim,
    .lease_renew = watched_renew,
    .lease_release = watched_release,
    .lease_close = watched_lease_close,
};

/* --- the watched sink ------------------------------------------------------------------------- */

static inline const struct ph_sink_driver *real_sink(void *ctx)
{
    return ((struct watched *)ctx)->inst->real_sink;
}

static inline int watched_sink_open(const struct ph_sink_env *env, const void *config, void **ret,
                                    struct ph_error *err)
{
    struct instance *inst = (struct instance *)(uintptr_t)config;
    void *real = NULL;
    int rc = inst->real_sink->open(env, inst->sink_arg, &real, err);
    if (rc == 0) {
        *ret = watch(config, real);
        inst->sink_opens++;
    }
    return rc;
}

static inline int watched_sink_begin(void *ctx, const struct ph_checkpoint *cp, bool anew,
                                     struct ph_error *err)
{
    return real_sink(ctx)->begin(((struct watched *)ctx)->real, cp, anew, err);
}

static inline struct ph_position watched_kept_at(void *ctx)
{
    return real_sink(ctx)->kept_at(((struct watched *)ctx)->real);
}

static inline int watched_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    return real_sink(ctx)->resume(((struct watched *)ctx)->real, ret, err);
}

static inline int watched_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct watched *w = ctx;
    struct instance *inst = w->inst;
    rig_check_submit(inst, batch);
    if (inst->flight_count == RIG_FLIGHTS_MAX || batch->count == 0) {
        rig_broken(inst->rig, "a batch was submitted that must not be");
    } else {
        inst->flights[inst->flight_count++] = (struct rig_flight){batch, batch->generation};
    }
    inst->submits++;
    inst->submitted += (int64_t)batch->count;
    inst->submit_us = ph_clock_mono_us();
    int rc = real_sink(ctx)->submit(w->real, batch, err);
    rig_note_verdicts(inst);
    return rc;
}

static inline int watched_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct watched *w = ctx;
    int rc = real_sink(ctx)->poll(w->real, timeout_ms, err);
    rig_note_verdicts(w->inst);
    w->inst->polls++;
    return rc;
}

static inline int watched_sink_fd(void *ctx)
{
    return real_sink(ctx)->fd(((struct watched *)ctx)->real);
}

static inline void watched_abandon(void *ctx)
{
    struct watched *w = ctx;
    real_sink(ctx)->abandon(w->real);
    w->inst->flight_count = 0;
    w->inst->abandons++;
}

static inline void watched_sink_close(void *ctx)
{
    struct watched *w = ctx;
    real_sink(ctx)->close(w->real);
    w->inst->sink_closes++;
    free(w);
}

static const struct ph_sink_driver rig_sink = {
    .name = "memory",
    .caps = PH_SINK_RECORDS | PH_SINK_CHECKPOINT,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = watched_sink_open,
    .resume = watched_resume,
    .begin = watched_sink_begin,
    .kept_at = watched_kept_at,
    .submit = watched_submit,
    .poll = watched_poll,
    .fd = watched_sink_fd,
    .abandon = watched_abandon,
    .close = watched_sink_close,
};

#endif
