/*
 * The memory source's driver: reads a log inside this program as the PostgreSQL source reads its
 * own, tick by tick, under a lease with epochs. Place: for tests and simulation.
 * Promise: never waits for anything but the log's lock; what it hands out lies in the batch.
 */
#include "source/memory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "source/memory_log.h"

#define IDLE_US INT64_C(10000) /* between two looks at an idle log */

struct memory_source {
    const struct ph_source_env *env;
    struct ph_memory_log *log;
    struct ph_memory_reader reader;
    struct ph_checkpoint_kept answer; /* what load and begin returned */
    struct ph_checkpoint_kept behind; /* what seek was given */
    struct ph_position cursor;        /* the last event that was read */
    int64_t epoch;
    int64_t due_us;
    bool at_end;
    struct ph_checkpoint_kept settling;
    bool settle_under_way;
    unsigned settle_stall;
    /* what park was given, instead of a checkpoint */
    struct ph_park_change *changes;
    size_t change_count;
    int64_t park_epoch;
};

/* --- open, close ------------------------------------------------------------------------------ */

static void source_close(void *ctx)
{
    struct memory_source *s = ctx;
    if (!s) {
        return;
    }
    if (s->log) {
        ph__memory_lock(s->log);
        struct ph_memory_reader **at = &s->log->readers;
        while (*at && *at != &s->reader) {
            at = &(*at)->next;
        }
        *at = *at ? s->reader.next : NULL;
        ph__memory_unlock(s->log);
        ph_memory_log_put(s->log);
    }
    if (s->reader.fd >= 0) {
        (void)close(s->reader.fd);
    }
    ph_checkpoint_kept_free(&s->answer);
    ph_checkpoint_kept_free(&s->behind);
    ph_checkpoint_kept_free(&s->settling);
    ph_mem_free(s->changes);
    ph_mem_free(s);
}

/* Makes the log tell this reader of new events. */
static int join(struct memory_source *s, struct ph_error *err)
{
    ph__memory_lock(s->log);
    int rc = ph__memory_call(s->log, PH_MEMORY_OPEN, err);
    s->reader.next = s->log->readers;
    s->log->readers = &s->reader;
    ph__memory_unlock(s->log);
    return rc;
}

static int source_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                       struct ph_error *err)
{
    (void)config;
    assert(env && env->batch_events > 0 && ret_ctx);
    struct memory_source *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return ph__memory_no_room(err);
    }
    s->env = env;
    s->reader.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = s->reader.fd < 0
                 ? ph_fail(err, PH_E_UNAVAILABLE, "eventfd: %s", strerrordesc_np(errno))
                 : ph__memory_log_find(env->uri, &s->log, err);
    if (rc == 0) {
        rc = join(s, err);
    }
    if (rc < 0) {
        source_close(s);
        return rc;
    }
    *ret_ctx = s;
    return 0;
}

/* --- checkpoints ------------------------------------------------------------------------------ */

static int source_timeline(void *ctx)
{
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    int timeline = s->log->timeline;
    ph__memory_unlock(s->log);
    return timeline;
}

/* Keeps cp and lends it to the caller until the next call. */
static int answer(struct memory_source *s, const struct ph_checkpoint *cp,
                  struct ph_checkpoint *ret, struct ph_error *err)
{
    int rc = ph_checkpoint_keep(&s->answer, cp, err);
    if (rc == 0) {
        *ret = s->answer.cp;
    }
    return rc;
}

static int refuse_epoch(const struct memory_source *s, int64_t epoch, int64_t newer,
                        struct ph_error *err)
{
    return ph_fail(err, PH_E_FENCED,
                   "pipeline %s: epoch %" PRId64 " is over, %" PRId64 " owns the checkpoint",
                   s->env->pipeline, epoch, newer);
}

static int load_locked(struct memory_source *s, int64_t epoch, struct ph_checkpoint *ret,
                       struct ph_error *err)
{
    int rc = ph__memory_call(s->log, PH_MEMORY_LOAD, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_memory_row *row = ph__memory_row(s->log, s->env->pipeline, s->env->shard);
    if (!row) {
        return ph__memory_no_room(err);
    }
    if (row->epoch > epoch) {
        return refuse_epoch(s, epoch, row->epoch, err);
    }
    row->epoch = epoch;
    s->epoch = epoch;
    if (!row->checkpoint.set) {
        return 0;
    }
    rc = answer(s, &row->checkpoint.cp, ret, err);
    return rc < 0 ? rc : 1;
}

static int source_load(void *ctx, int64_t epoch, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    int rc = load_locked(s, epoch, ret, err);
    ph__memory_unlock(s->log);
    return rc;
}

/* Whether what the checkpoint's tick saw is what the log remembers of it. */
static bool is_ours(const struct ph_memory_log *log, const struct ph_checkpoint *cp)
{
    if (cp->at.tick <= log->cleared) {
        return true; /* the beginning, or a tick whose row is gone */
    }
    const struct ph_memory_tick *tick = ph__memory_tick_at(log, cp->at.tick);
    return tick && tick->tick == cp->at.tick && ph_str_is(cp->snapshot, tick->snapshot);
}

static int source_contains(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    (void)err;
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    int rc = cp->timeline == s->log->timeline && is_ours(s->log, cp);
    ph__memory_unlock(s->log);
    return rc;
}

/* The tick a new pipeline begins behind; NULL: behind none. */
static const struct ph_memory_tick *first_tick(struct ph_memory_log *log,
                                               const struct ph_start *start)
{
    switch (start->kind) {
    case PH_START_EARLIEST:
        return NULL;
    case PH_START_LATEST:
        if (log->told < log->event_count && !log->manual_ticks && ph__memory_tick(log) < 0) {
            return NULL;
        }
        return ph__memory_tick_at(log, INT64_MAX);
    case PH_START_TIME:
        break;
    }
    return ph__memory_tick_before(log, start->time_us);
}

/* The last event of a tick. */
static struct ph_position end_of(const struct ph_memory_log *log, const struct ph_memory_tick *tick)
{
    struct ph_position end = {tick ? tick->tick : 0, 0};
    size_t behind = ph__memory_behind(log, (struct ph_position){end.tick, INT64_MAX});
    if (behind > 0 && log->events[behind - 1].tick == end.tick) {
        end.position = log->events[behind - 1].event.position;
    }
    return end;
}

static int source_begin(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                        struct ph_error *err)
{
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    const struct ph_memory_tick *tick = first_tick(s->log, start);
    struct ph_str snapshot = tick ? ph_str_from(tick->snapshot) : PH_STR("0.0");
    struct ph_checkpoint cp = {.at = end_of(s->log, tick),
                               .snapshot = snapshot,
                               .base_snapshot = snapshot,
                               .start_snapshot = snapshot,
                               .timeline = s->log->timeline,
                               .epoch = s->epoch};
    int rc = answer(s, &cp, ret, err);
    ph__memory_unlock(s->log);
    return rc;
}

static int source_seek(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    bool ours = is_ours(s->log, cp);
    ph__memory_unlock(s->log);
    if (!ours) {
        char at[PH_POSITION_TEXT_MAX];
        (void)ph_position_format(cp->at, at);
        return ph_fail(err, PH_E_DIVERGED, "checkpoint %s (snapshot %.*s) is not of log memory:%s",
                       at, PH_STR_ARG(cp->snapshot), s->log->name);
    }
    int rc = ph_checkpoint_keep(&s->behind, cp, err);
    if (rc == 0) {
        s->cursor = cp->at;
        s->at_end = false;
    }
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool copy_str(struct ph_arena *arena, struct ph_str *s)
{
    if (s->ptr) {
        s->ptr = ph_arena_copy(arena, s->ptr, s->len);
    }
    return s->ptr || s->len == 0;
}

/* The span of the tick that the next event belongs to; base is what is settled before it. NULL:
 * no room. */
static const struct ph_tick_span *new_span(const struct memory_source *s, struct ph_arena *arena,
                                           int64_t number)
{
    const struct ph_memory_tick *tick = ph__memory_tick_at(s->log, number);
    const struct ph_memory_tick *before = ph__memory_tick_at(s->log, number - 1);
    struct ph_tick_span *span = ph_arena_alloc(arena, sizeof *span);
    assert(tick && tick->tick == number);
    if (!span) {
        return NULL;
    }
    *span = (struct ph_tick_span){
        .tick = number,
        .snapshot = ph_str_from(tick->snapshot),
        .base_snapshot = before ? ph_str_from(before->snapshot) : PH_STR("0.0"),
    };
    bool copied = copy_str(arena, &span->snapshot) && copy_str(arena, &span->base_snapshot);
    return copied ? span : NULL;
}

static size_t size_of(const struct ph_event *event)
{
    return event->payload.len + event->headers_json.len;
}

bool ph__memory_lend(struct ph_batch *batch, const struct ph_memory_event *kept,
                     struct ph_event *out)
{
    struct ph_arena *arena = &batch->arena;
    *out = kept->event;
    return copy_str(arena, &out->aggregate_type) && copy_str(arena, &out->aggregate_id) &&
           copy_str(arena, &out->event_type) && copy_str(arena, &out->payload) &&
           copy_str(arena, &out->content_type) && copy_str(arena, &out->headers_json);
}

/* Copies one event to the end of the batch; false without room in the arena. */
static bool copy_event(struct memory_source *s, struct ph_batch *batch,
                       const struct ph_memory_event *kept, const struct ph_tick_span **span)
{
    if (!*span || (*span)->tick != kept->tick) {
        *span = new_span(s, &batch->arena, kept->tick);
    }
    struct ph_event copy;
    if (!*span || !ph__memory_lend(batch, kept, &copy)) {
        return false;
    }
    copy.span = *span;
    struct ph_event *event = ph_batch_add(batch);
    assert(event);
    *event = copy;
    batch->bytes += size_of(event);
    return true;
}

static bool has_room(const struct memory_source *s, const struct ph_batch *batch,
                     const struct ph_event *event)
{
    size_t events = s->env->batch_events < batch->cap ? s->env->batch_events : batch->cap;
    return batch->count == 0 ||
           (batch->count < events && batch->bytes + size_of(event) <= s->env->batch_bytes);
}

/* Moves the cursor over empty ticks behind it; the tick it is at the end of, or NULL when there are
 * events of its tick left, or none was passed. */
static const struct ph_memory_tick *pass_ticks(struct memory_source *s, size_t next)
{
    const struct ph_memory_log *log = s->log;
    int64_t limit = next < log->told ? log->events[next].tick - 1 : INT64_MAX;
    const struct ph_memory_tick *tick = ph__memory_tick_at(log, limit);
    if (!tick || tick->tick < s->cursor.tick) {
        return NULL;
    }
    if (tick->tick > s->cursor.tick) {
        s->cursor = (struct ph_position){tick->tick, 0};
    }
    return tick;
}

/* Describes where the cursor stands as the end of the batch. */
static bool put_end(struct memory_source *s, struct ph_batch *batch, size_t next)
{
    const struct ph_memory_tick *whole = pass_ticks(s, next);
    const struct ph_tick_span *span = batch->count ? batch->events[batch->count - 1].span : NULL;
    struct ph_checkpoint end = {.at = s->cursor,
                                .start_snapshot = s->behind.cp.start_snapshot,
                                .timeline = s->log->timeline,
                                .epoch = s->epoch};
    assert(whole || span);
    end.snapshot = whole ? ph_str_from(whole->snapshot) : span->snapshot;
    end.base_snapshot = whole ? end.snapshot : span->base_snapshot;
    if (!copy_str(&batch->arena, &end.snapshot) || !copy_str(&batch->arena, &end.base_snapshot) ||
        !copy_str(&batch->arena, &end.start_snapshot)) {
        return false;
    }
    batch->end = end;
    batch->has_end = true;
    return true;
}

/* Whether a tick without events stands behind the cursor, and none with events before it. */
static bool empty_tick_ahead(const struct memory_source *s)
{
    const struct ph_memory_tick *last = ph__memory_tick_at(s->log, INT64_MAX);
    return last && last->tick > s->cursor.tick;
}

static int fetch_locked(struct memory_source *s, struct ph_batch *batch, struct ph_error *err)
{
    struct ph_memory_log *log = s->log;
    int rc = ph__memory_call(log, PH_MEMORY_FETCH, err);
    if (rc < 0) {
        return rc;
    }
    if (log->faults[PH_MEMORY_FETCH].stall > 0) {
        log->faults[PH_MEMORY_FETCH].stall--;
        return PH_FETCH_NOTHING;
    }
    if (log->told < log->event_count && !log->manual_ticks && ph__memory_tick(log) < 0) {
        return ph__memory_no_room(err);
    }
    size_t next = ph__memory_behind(log, s->cursor);
    s->at_end = next == log->told && !empty_tick_ahead(s);
    if (s->at_end) {
        return PH_FETCH_NOTHING;
    }
    const struct ph_tick_span *span = NULL;
    while (next < log->told && has_room(s, batch, &log->events[next].event) &&
           copy_event(s, batch, &log->events[next], &span)) {
        s->cursor = (struct ph_position){log->events[next].tick, log->events[next].event.position};
        next++;
    }
    bool filled = batch->count > 0 || next == log->told;
    return filled && put_end(s, batch, next) ? PH_FETCH_BATCH : ph__memory_no_room(err);
}

static int source_fetch(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct memory_source *s = ctx;
    assert(batch->count == 0);
    uint64_t told;
    ssize_t got = read(s->reader.fd, &told, sizeof told);
    (void)got; /* nothing to read when nothing was told */
    ph__memory_lock(s->log);
    struct ph_position before = s->cursor;
    int rc = fetch_locked(s, batch, err);
    if (rc < 0) {
        s->cursor = before;
    }
    ph__memory_unlock(s->log);
    s->due_us = ph_clock_mono_us() + IDLE_US;
    return rc;
}

static int source_fd(void *ctx)
{
    const struct memory_source *s = ctx;
    return s->reader.fd;
}

static int64_t source_due_us(void *ctx)
{
    const struct memory_source *s = ctx;
    return s->due_us;
}

static bool source_at_end(void *ctx)
{
    const struct memory_source *s = ctx;
    return s->at_end;
}

/* --- settling --------------------------------------------------------------------------------- */

static int source_settle(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct memory_source *s = ctx;
    if (s->settle_under_way) {
        return 0;
    }
    int rc = ph_checkpoint_keep(&s->settling, cp, err);
    if (rc < 0) {
        return rc;
    }
    ph__memory_lock(s->log);
    s->settle_stall = s->log->faults[PH_MEMORY_SETTLE].stall;
    s->log->faults[PH_MEMORY_SETTLE].stall = 0;
    ph__memory_unlock(s->log);
    s->settle_under_way = true;
    return 1;
}

static struct ph_memory_row *row_for(struct memory_source *s, int64_t epoch, struct ph_error *err)
{
    struct ph_memory_row *row = ph__memory_row(s->log, s->env->pipeline, s->env->shard);
    if (!row) {
        (void)ph__memory_no_room(err);
    } else if (row->epoch > epoch) {
        (void)refuse_epoch(s, epoch, row->epoch, err);
        row = NULL;
    }
    return row;
}

static int store_locked(struct memory_source *s, struct ph_error *err)
{
    enum ph_memory_call before = s->changes ? PH_MEMORY_PARK : PH_MEMORY_SETTLE;
    enum ph_memory_call behind = s->changes ? PH_MEMORY_PARKED : PH_MEMORY_SETTLED;
    const struct ph_checkpoint *cp = &s->settling.cp;
    int64_t epoch = s->changes ? s->park_epoch : cp->epoch;
    int rc = ph__memory_call(s->log, before, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_memory_row *row = row_for(s, epoch, err);
    if (!row) {
        return err ? err->code : PH_E_FENCED;
    }
    row->epoch = epoch;
    rc = s->changes ? ph__memory_park(s->log, row, s->changes, s->change_count, err)
                    : ph_checkpoint_keep(&row->checkpoint, cp, err);
    return rc < 0 ? rc : ph__memory_call(s->log, behind, err);
}

static int source_settled(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct memory_source *s = ctx;
    if (!s->settle_under_way) {
        return 1;
    }
    for (; s->settle_stall > 0 && timeout_ms > 0; timeout_ms--) {
        (void)ph_stop_wait(NULL, 1);
        s->settle_stall--;
    }
    if (s->settle_stall > 0) {
        s->settle_stall--;
        return 0;
    }
    ph__memory_lock(s->log);
    int rc = store_locked(s, err);
    ph__memory_unlock(s->log);
    s->settle_under_way = false;
    ph_mem_free(s->changes);
    s->changes = NULL;
    return rc < 0 ? rc : 1;
}

/* --- parked rows ------------------------------------------------------------------------------ */

static int source_park(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
                       struct ph_error *err)
{
    struct memory_source *s = ctx;
    if (s->settle_under_way) {
        return 0;
    }
    s->changes = ph__memory_changes(changes, count);
    if (!s->changes) {
        return ph__memory_no_room(err);
    }
    s->change_count = count;
    s->park_epoch = epoch;
    s->settle_under_way = true;
    return 1;
}

static int source_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
                       struct ph_park_totals *ret, struct ph_error *err)
{
    struct memory_source *s = ctx;
    ph__memory_lock(s->log);
    struct ph_memory_row *row = ph__memory_row(s->log, s->env->pipeline, s->env->shard);
    int rc = row ? ph__memory_held(row, each, arg, ret) : ph__memory_no_room(err);
    ph__memory_unlock(s->log);
    return rc;
}

static int source_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err)
{
    struct memory_source *s = ctx;
    if (s->settle_under_way) {
        return PH_FETCH_NOTHING;
    }
    ph__memory_lock(s->log);
    int rc = ph__memory_call(s->log, PH_MEMORY_DUE, err);
    struct ph_memory_row *row =
        rc == 0 ? ph__memory_row(s->log, s->env->pipeline, s->env->shard) : NULL;
    if (row && row->epoch > s->epoch) {
        rc = refuse_epoch(s, s->epoch, row->epoch, err); /* what waits is another's to know now */
    } else if (row) {
        rc = ph__memory_due(row, batch, s->env->batch_bytes, ret, err);
    } else if (rc == 0) {
        rc = ph__memory_no_room(err);
    }
    ph__memory_unlock(s->log);
    return rc < 0 ? rc : PH_FETCH_BATCH;
}

static const struct ph_option memory_options[] = {PH_OPTION_END};

const struct ph_source_driver ph_source_memory = {
    .name = "memory",
    .summary = "a log inside the program, for tests and simulation: memory:NAME",
    .options = memory_options,
    .open = source_open,
    .timeline = source_timeline,
    .load = source_load,
    .contains = source_contains,
    .begin = source_begin,
    .seek = source_seek,
    .fetch = source_fetch,
    .fd = source_fd,
    .due_us = source_due_us,
    .at_end = source_at_end,
    .settle = source_settle,
    .settled = source_settled,
    .held = source_held,
    .park = source_park,
    .due = source_due,
    .close = source_close,
    .lease_open = ph__memory_lease_open,
    .lease_claim = ph__memory_lease_claim,
    .lease_renew = ph__memory_lease_renew,
    .lease_release = ph__memory_lease_release,
    .maintain = NULL,
    .lease_close = ph__memory_lease_close,
};
