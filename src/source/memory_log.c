/*
 * The log of the memory source: events, ticks, one row of bookkeeping for each pipeline shard, and
 * the faults a test asked for. The driver over it is memory.c.
 * Promise: what a tick holds never changes after it was made; one lock guards it all.
 */
#include "source/memory_log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

#define FIRST_ROOM 64

static struct {
    pthread_mutex_t lock;
    struct ph_memory_log *logs;
} registry = {PTHREAD_MUTEX_INITIALIZER, NULL};

static void lock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_lock(mutex);
    assert(rc == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_unlock(mutex);
    assert(rc == 0);
}

void ph__memory_lock(struct ph_memory_log *log)
{
    lock(&log->lock);
}

void ph__memory_unlock(struct ph_memory_log *log)
{
    unlock(&log->lock);
}

int ph__memory_no_room(struct ph_error *err)
{
    return ph_fail(err, PH_E_NOMEM, "memory source: no memory");
}

/* --- registry --------------------------------------------------------------------------------- */

static struct ph_memory_log *log_new(const char *name)
{
    struct ph_memory_log *log = ph_mem_zero(1, sizeof *log);
    if (!log || !(log->name = ph_mem_strdup(name))) {
        ph_mem_free(log);
        return NULL;
    }
    int rc = pthread_mutex_init(&log->lock, NULL);
    assert(rc == 0);
    log->timeline = 1;
    return log;
}

static void log_free(struct ph_memory_log *log)
{
    assert(!log->readers);
    for (size_t i = 0; i < log->event_count; i++) {
        ph_mem_free(log->events[i].text);
    }
    for (size_t i = 0; i < log->row_count; i++) {
        ph_mem_free(log->rows[i].pipeline);
        ph_mem_free(log->rows[i].owner);
        ph_mem_free(log->rows[i].last_error);
        ph__memory_parked_free(&log->rows[i]);
        ph_checkpoint_kept_free(&log->rows[i].checkpoint);
    }
    (void)pthread_mutex_destroy(&log->lock);
    ph_mem_free(log->events);
    ph_mem_free(log->ticks);
    ph_mem_free(log->name);
    ph_mem_free(log);
}

/* The registered log of that name with one more user, or NULL. The registry's lock is held. */
static struct ph_memory_log *registered(const char *name)
{
    struct ph_memory_log *log = registry.logs;
    while (log && strcmp(log->name, name) != 0) {
        log = log->next;
    }
    if (log) {
        log->users++;
    }
    return log;
}

struct ph_memory_log *ph_memory_log_get(const char *name)
{
    assert(name);
    lock(&registry.lock);
    struct ph_memory_log *log = registered(name);
    if (!log && (log = log_new(name))) {
        log->users = 1;
        log->next = registry.logs;
        registry.logs = log;
    }
    unlock(&registry.lock);
    return log;
}

void ph_memory_log_put(struct ph_memory_log *log)
{
    if (!log) {
        return;
    }
    lock(&registry.lock);
    assert(log->users > 0);
    bool last = --log->users == 0;
    for (struct ph_memory_log **at = &registry.logs; last && *at; at = &(*at)->next) {
        if (*at == log) {
            *at = log->next;
            break;
        }
    }
    unlock(&registry.lock);
    if (last) {
        log_free(log);
    }
}

int ph__memory_log_find(const char *uri, struct ph_memory_log **ret, struct ph_error *err)
{
    const char *colon = strchr(uri, ':');
    lock(&registry.lock);
    struct ph_memory_log *log = registered(colon ? colon + 1 : uri);
    unlock(&registry.lock);
    if (!log) {
        return ph_fail(err, PH_E_CONFIG,
                       "%s: no such log; a memory log lives inside the program that made it", uri);
    }
    *ret = log;
    return 0;
}

/* --- events and ticks ------------------------------------------------------------------------- */

bool ph__memory_room(void **array, size_t count, size_t *room, size_t size)
{
    if (count < *room) {
        return true;
    }
    size_t more = *room ? *room * 2 : FIRST_ROOM;
    void *bigger = ph_mem_resize(*array, more * size);
    if (!bigger) {
        return false;
    }
    *array = bigger;
    *room = more;
    return true;
}

/* Puts all texts of the event into one block of its own. */
static bool own_texts(struct ph_memory_event *kept)
{
    struct ph_event *event = &kept->event;
    struct ph_str *texts[] = {&event->aggregate_type, &event->aggregate_id, &event->event_type,
                              &event->payload,        &event->content_type, &event->headers_json};
    size_t size = 1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size += texts[i]->len;
    }
    kept->text = ph_mem_alloc(size);
    if (!kept->text) {
        return false;
    }
    char *at = kept->text;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i]->len > 0) {
            memcpy(at, texts[i]->ptr, texts[i]->len);
        }
        texts[i]->ptr = texts[i]->ptr ? at : NULL;
        at += texts[i]->len;
    }
    return true;
}

bool ph__memory_copy(struct ph_memory_event *out, const struct ph_event *event, int64_t tick)
{
    *out = (struct ph_memory_event){.event = *event, .tick = tick};
    return own_texts(out);
}

static void wake_readers(const struct ph_memory_log *log)
{
    uint64_t one = 1;
    for (const struct ph_memory_reader *reader = log->readers; reader; reader = reader->next) {
        ssize_t written = write(reader->fd, &one, sizeof one);
        (void)written; /* when the counter is full the reader is awake */
    }
}

static struct ph_memory_event copy_of(const struct ph_memory_log *log, const struct ph_event *event)
{
    static const struct ph_uuid none;
    struct ph_memory_event kept = {.event = {.position = event->position,
                                             .xid = event->xid,
                                             .created_us = event->created_us,
                                             .id = event->id,
                                             .aggregate_type = event->aggregate_type,
                                             .aggregate_id = event->aggregate_id,
                                             .event_type = event->event_type,
                                             .payload = event->payload,
                                             .content_type = event->content_type,
                                             .deliver_after_us = event->deliver_after_us,
                                             .headers_json = event->headers_json}};
    if (memcmp(&kept.event.id, &none, sizeof none) == 0) {
        ph_uuid_random(&kept.event.id);
    }
    if (kept.event.position == 0) {
        kept.event.position = log->position + 1;
    }
    if (kept.event.created_us == 0) {
        kept.event.created_us = ph_clock_wall_us();
    }
    return kept;
}

int64_t ph_memory_log_append(struct ph_memory_log *log, const struct ph_event *event)
{
    assert(log && event && event->position >= 0);
    ph__memory_lock(log);
    int64_t position = PH_E_NOMEM;
    void *events = log->events;
    bool room = ph__memory_room(&events, log->event_count, &log->event_room, sizeof *log->events);
    log->events = events;
    struct ph_memory_event kept = copy_of(log, event);
    if (room && own_texts(&kept)) {
        position = kept.event.position;
        log->events[log->event_count++] = kept;
        log->position = position > log->position ? position : log->position;
        wake_readers(log);
    }
    ph__memory_unlock(log);
    return position;
}

static int by_position(const void *a, const void *b)
{
    const struct ph_memory_event *left = a, *right = b;
    return (left->event.position > right->event.position) -
           (left->event.position < right->event.position);
}

int64_t ph__memory_tick(struct ph_memory_log *log)
{
    void *ticks = log->ticks;
    bool room = ph__memory_room(&ticks, log->tick_count, &log->tick_room, sizeof *log->ticks);
    log->ticks = ticks;
    if (!room) {
        return PH_E_NOMEM;
    }
    struct ph_memory_tick *tick = &log->ticks[log->tick_count++];
    tick->tick = ++log->tick;
    tick->made_us = ph_clock_wall_us();
    (void)snprintf(tick->snapshot, sizeof tick->snapshot, "%" PRId64 ".%d", tick->tick,
                   log->history);
    if (log->told < log->event_count) {
        qsort(log->events + log->told, log->event_count - log->told, sizeof *log->events,
              by_position);
    }
    for (; log->told < log->event_count; log->told++) {
        log->events[log->told].tick = tick->tick;
    }
    return tick->tick;
}

int64_t ph_memory_log_tick(struct ph_memory_log *log)
{
    assert(log);
    ph__memory_lock(log);
    int64_t tick = ph__memory_tick(log);
    wake_readers(log);
    ph__memory_unlock(log);
    return tick;
}

void ph_memory_log_manual_ticks(struct ph_memory_log *log, bool manual)
{
    assert(log);
    ph__memory_lock(log);
    log->manual_ticks = manual;
    ph__memory_unlock(log);
}

const struct ph_memory_tick *ph__memory_tick_at(const struct ph_memory_log *log, int64_t tick)
{
    size_t i = log->tick_count;
    while (i > 0 && log->ticks[i - 1].tick > tick) {
        i--;
    }
    return i > 0 ? &log->ticks[i - 1] : NULL;
}

const struct ph_memory_tick *ph__memory_tick_before(const struct ph_memory_log *log,
                                                    int64_t time_us)
{
    size_t i = log->tick_count;
    while (i > 0 && log->ticks[i - 1].made_us >= time_us) {
        i--;
    }
    return i > 0 ? &log->ticks[i - 1] : NULL;
}

size_t ph__memory_behind(const struct ph_memory_log *log, struct ph_position at)
{
    size_t low = 0, high = log->told;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct ph_memory_event *kept = &log->events[middle];
        struct ph_position here = {kept->tick, kept->event.position};
        if (ph_position_cmp(here, at) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Takes count events out from `from` on. */
static void drop_events(struct ph_memory_log *log, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        ph_mem_free(log->events[i].text);
    }
    size_t behind = log->event_count - from - count;
    if (behind > 0 && count > 0) {
        memmove(log->events + from, log->events + from + count, behind * sizeof *log->events);
    }
    log->event_count -= count;
}

void ph_memory_log_fail_over(struct ph_memory_log *log, int64_t tick)
{
    assert(log && tick >= 0);
    ph__memory_lock(log);
    log->timeline++;
    log->history++;
    if (tick < INT64_MAX) {
        size_t keep = ph__memory_behind(log, (struct ph_position){tick, INT64_MAX});
        drop_events(log, keep, log->event_count - keep);
        log->told = keep;
        while (log->tick_count > 0 && log->ticks[log->tick_count - 1].tick > tick) {
            log->tick_count--;
        }
        log->tick = log->tick < tick ? log->tick : tick;
    }
    wake_readers(log);
    ph__memory_unlock(log);
}

void ph_memory_log_clear(struct ph_memory_log *log, int64_t tick)
{
    assert(log);
    ph__memory_lock(log);
    size_t gone = ph__memory_behind(log, (struct ph_position){tick, INT64_MAX});
    drop_events(log, 0, gone);
    log->told -= gone;
    size_t ticks = 0;
    while (ticks < log->tick_count && log->ticks[ticks].tick <= tick) {
        log->cleared = log->ticks[ticks++].tick;
    }
    log->tick_count -= ticks;
    if (log->tick_count > 0 && ticks > 0) {
        memmove(log->ticks, log->ticks + ticks, log->tick_count * sizeof *log->ticks);
    }
    ph__memory_unlock(log);
}

/* --- bookkeeping ------------------------------------------------------------------------------ */

struct ph_memory_row *ph__memory_row(struct ph_memory_log *log, const char *pipeline, int shard)
{
    for (size_t i = 0; i < log->row_count; i++) {
        if (log->rows[i].shard == shard && strcmp(log->rows[i].pipeline, pipeline) == 0) {
            return &log->rows[i];
        }
    }
    char *name = log->row_count < PH_MEMORY_ROWS_MAX ? ph_mem_strdup(pipeline) : NULL;
    if (!name) {
        return NULL;
    }
    struct ph_memory_row *row = &log->rows[log->row_count++];
    *row = (struct ph_memory_row){.pipeline = name, .shard = shard};
    return row;
}

int ph_memory_log_checkpoint(struct ph_memory_log *log, const char *pipeline, int shard,
                             struct ph_checkpoint_kept *out)
{
    assert(log && pipeline && out);
    ph__memory_lock(log);
    const struct ph_memory_row *row = ph__memory_row(log, pipeline, shard);
    int rc = row ? row->checkpoint.set : PH_E_NOMEM;
    if (rc == 1 && ph_checkpoint_keep(out, &row->checkpoint.cp, NULL) < 0) {
        rc = PH_E_NOMEM;
    }
    ph__memory_unlock(log);
    return rc;
}

int64_t ph_memory_log_epoch(struct ph_memory_log *log, const char *pipeline, int shard)
{
    assert(log && pipeline);
    ph__memory_lock(log);
    const struct ph_memory_row *row = ph__memory_row(log, pipeline, shard);
    int64_t epoch = row ? row->lease_epoch : 0;
    ph__memory_unlock(log);
    return epoch;
}

void ph_memory_log_expire(struct ph_memory_log *log, const char *pipeline, int shard)
{
    assert(log && pipeline);
    ph__memory_lock(log);
    struct ph_memory_row *row = ph__memory_row(log, pipeline, shard);
    if (row) {
        row->expires_us = 0;
        ph_mem_free(row->owner);
        row->owner = NULL;
    }
    ph__memory_unlock(log);
}

/* --- faults ----------------------------------------------------------------------------------- */

void ph_memory_log_fail(struct ph_memory_log *log, enum ph_memory_call call, unsigned after,
                        unsigned times, int code)
{
    assert(log && call < PH_MEMORY_CALLS && (times == 0 || code < 0));
    ph__memory_lock(log);
    struct ph_memory_fault *fault = &log->faults[call];
    fault->after = after;
    fault->times = times;
    fault->code = code;
    ph__memory_unlock(log);
}

void ph_memory_log_stall(struct ph_memory_log *log, enum ph_memory_call call, unsigned times)
{
    assert(log && (call == PH_MEMORY_FETCH || call == PH_MEMORY_SETTLE));
    ph__memory_lock(log);
    log->faults[call].stall = times;
    ph__memory_unlock(log);
}

int ph__memory_call(struct ph_memory_log *log, enum ph_memory_call call, struct ph_error *err)
{
    struct ph_memory_fault *fault = &log->faults[call];
    if (fault->times == 0) {
        return 0;
    }
    if (fault->after > 0) {
        fault->after--;
        return 0;
    }
    fault->times--;
    return ph_fail(err, fault->code, "memory:%s: a fault that a test asked for", log->name);
}
