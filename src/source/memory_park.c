/*
 * The parked rows of the memory log: what park.h says of them, over an array. Place: behind the
 * driver (memory.c), for tests and simulation. All of it runs with the log's lock held but the
 * functions of people at the end.
 */
#include <assert.h>

#include "base/clock.h"
#include "base/sys.h"
#include "source/memory_log.h"

/* --- queues ----------------------------------------------------------------------------------- */

static struct ph_position at_of(const struct ph_memory_parked *row)
{
    return (struct ph_position){row->kept.tick, row->kept.event.position};
}

static bool in_queue(const struct ph_memory_parked *row, const char *key)
{
    bool waits = row->state == PH_PARK_PARKED || (row->state == PH_PARK_DEAD && !row->passed);
    return key && row->key && waits && !row->discarded && strcmp(row->key, key) == 0;
}

/* <0, 0, >0 as a stands before, at or behind b in the queue of their key. */
static int compare(const struct ph_memory_parked *a, const struct ph_memory_parked *b)
{
    int by_queue = ph_position_cmp(a->queue, b->queue);
    int64_t due_a = a->kept.event.deliver_after_us, due_b = b->kept.event.deliver_after_us;
    if (by_queue != 0) {
        return by_queue;
    }
    if (due_a != due_b) {
        return due_a < due_b ? -1 : 1;
    }
    return ph_position_cmp(at_of(a), at_of(b));
}

/* The first row of a key's queue behind one (NULL: of all), or NULL; with last, the last one. */
static struct ph_memory_parked *find(struct ph_memory_row *of, const char *key,
                                     const struct ph_memory_parked *behind, bool last)
{
    struct ph_memory_parked *found = NULL;
    for (size_t i = 0; i < of->parked_count; i++) {
        struct ph_memory_parked *row = &of->parked[i];
        if (!in_queue(row, key) || (behind && compare(row, behind) <= 0)) {
            continue;
        }
        if (!found || (compare(row, found) < 0) != last) {
            found = row;
        }
    }
    return found;
}

/* The head of the queue is due now, if it waited for others. */
static void promote(struct ph_memory_row *of, const char *key)
{
    struct ph_memory_parked *head = find(of, key, NULL, false);
    if (head && head->state == PH_PARK_PARKED && head->next_us == 0) {
        head->next_us = ph_clock_wall_us();
    }
}

static struct ph_memory_parked *row_at(struct ph_memory_row *of, struct ph_position at)
{
    for (size_t i = 0; i < of->parked_count; i++) {
        if (of->parked[i].kept.event.position == at.position) {
            return &of->parked[i];
        }
    }
    return NULL;
}

/* --- changes ---------------------------------------------------------------------------------- */

static void row_free(struct ph_memory_parked *row)
{
    ph_mem_free(row->kept.text);
    ph_mem_free(row->key);
}

void ph__memory_parked_free(struct ph_memory_row *of)
{
    for (size_t i = 0; i < of->parked_count; i++) {
        row_free(&of->parked[i]);
    }
    ph_mem_free(of->parked);
}

static const struct ph_memory_event *in_log(const struct ph_memory_log *log, int64_t position)
{
    for (size_t i = 0; i < log->told; i++) {
        if (log->events[i].event.position == position) {
            return &log->events[i];
        }
    }
    return NULL;
}

static char *copy_key(struct ph_str key)
{
    char *copy = key.ptr ? ph_mem_alloc(key.len + 1) : NULL;
    if (copy) {
        memcpy(copy, key.ptr, key.len);
        copy[key.len] = '\0';
    }
    return copy;
}

static int64_t next_of(struct ph_memory_row *of, const struct ph_memory_parked *row,
                       const struct ph_park_change *change)
{
    if (change->state == PH_PARK_SCHEDULED) {
        return row->kept.event.deliver_after_us;
    }
    if (change->state == PH_PARK_DEAD) {
        return 0;
    }
    const struct ph_memory_parked *head = find(of, row->key, NULL, false);
    if (change->wait_ms < 0 && head && compare(head, row) < 0) {
        return 0;
    }
    return ph_clock_wall_us() + (change->wait_ms < 0 ? 0 : change->wait_ms * 1000);
}

/* Rows behind the head, which may be a new one, wait for it. */
static void only_head_is_due(struct ph_memory_row *of, const char *key)
{
    const struct ph_memory_parked *head = find(of, key, NULL, false);
    for (size_t i = 0; head && i < of->parked_count; i++) {
        if (in_queue(&of->parked[i], key) && &of->parked[i] != head) {
            of->parked[i].next_us = 0;
        }
    }
}

static int put(struct ph_memory_log *log, struct ph_memory_row *of,
               const struct ph_park_change *change, struct ph_error *err)
{
    if (row_at(of, change->at)) {
        return 0;
    }
    const struct ph_memory_event *event = in_log(log, change->at.position);
    void *rows = of->parked;
    bool room = ph__memory_room(&rows, of->parked_count, &of->parked_room, sizeof *of->parked);
    of->parked = rows;
    if (!event) {
        return ph_fail(err, PH_E_DATA, "the event to be parked is not in the log");
    }
    struct ph_memory_parked row = {.state = change->state,
                                   .queue = change->at,
                                   .attempts = change->attempts,
                                   .passed = change->passed,
                                   .gap_due = change->passed,
                                   .key = copy_key(change->key)};
    if (!room || (change->key.ptr && !row.key) ||
        !ph__memory_copy(&row.kept, &event->event, change->at.tick)) {
        ph_mem_free(row.key);
        return ph__memory_no_room(err);
    }
    row.next_us = next_of(of, &row, change);
    of->parked[of->parked_count++] = row;
    only_head_is_due(of, row.key);
    return 0;
}

static void sent(struct ph_memory_row *of, struct ph_memory_parked *row)
{
    struct ph_memory_parked gone = *row;
    size_t behind = of->parked_count - (size_t)(row - of->parked) - 1;
    memmove(row, row + 1, behind * sizeof *row);
    of->parked_count--;
    if (gone.key) {
        promote(of, gone.key);
    }
    row_free(&gone);
}

static void failed(struct ph_memory_row *of, struct ph_memory_parked *row,
                   const struct ph_park_change *change)
{
    row->state = change->state;
    row->attempts = change->attempts;
    row->passed = change->passed;
    row->gap_due = change->passed && change->state == PH_PARK_DEAD;
    row->next_us = next_of(of, row, change);
    only_head_is_due(of, row->key); /* a person may have put another in front meanwhile */
    if (row->gap_due && row->key) {
        promote(of, row->key);
    }
}

/* It stands behind the last row, unless that one came by its time too and has a later one. */
static void queue(struct ph_memory_row *of, struct ph_memory_parked *row)
{
    const struct ph_memory_parked *last = find(of, row->key, NULL, true);
    row->queue = last ? last->queue : row->queue;
    row->next_us = 0;
    row->state = PH_PARK_PARKED;
    only_head_is_due(of, row->key);
    promote(of, row->key);
}

static int change_row(struct ph_memory_log *log, struct ph_memory_row *of,
                      const struct ph_park_change *change, struct ph_error *err)
{
    if (change->act == PH_PARK_PUT) {
        return put(log, of, change, err);
    }
    struct ph_memory_parked *row = row_at(of, change->at);
    if (!row) {
        return change->act == PH_PARK_TOLD
                   ? 0
                   : ph_fail(err, PH_E_SOFTWARE, "there is no parked row to be changed");
    }
    switch (change->act) {
    case PH_PARK_SENT:
        sent(of, row);
        break;
    case PH_PARK_FAILED:
        failed(of, row, change);
        break;
    case PH_PARK_QUEUE:
        queue(of, row);
        break;
    case PH_PARK_TOLD:
        row->gap_due = false;
        break;
    case PH_PARK_PUT:
        break;
    }
    return 0;
}

/* Without memory in the middle of a list, its first part stays done: as if the answer had been
 * lost, which the core must bear anyway. */
int ph__memory_park(struct ph_memory_log *log, struct ph_memory_row *of,
                    const struct ph_park_change *changes, size_t count, struct ph_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = change_row(log, of, &changes[i], err);
    }
    return rc;
}

struct ph_park_change *ph__memory_changes(const struct ph_park_change *changes, size_t count)
{
    size_t size = count * sizeof *changes;
    for (size_t i = 0; i < count; i++) {
        size += changes[i].key.len + changes[i].error.len;
    }
    struct ph_park_change *copy = ph_mem_alloc(size);
    char *at = copy ? (char *)(copy + count) : NULL;
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = changes[i];
        struct ph_str *texts[] = {&copy[i].key, &copy[i].error};
        for (size_t j = 0; j < 2; j++) {
            if (texts[j]->ptr) {
                memcpy(at, texts[j]->ptr, texts[j]->len);
                texts[j]->ptr = at;
                at += texts[j]->len;
            }
        }
    }
    return copy;
}

/* --- who waits, and what is due --------------------------------------------------------------- */

static int tell_row(const struct ph_memory_row *of, const struct ph_memory_parked *row,
                    int (*each)(void *arg, const struct ph_held *held), void *arg)
{
    struct ph_held held = {.rows = in_queue(row, row->key)};
    if (row->key) {
        held.key = ph_str_from(row->key);
    }
    if (row->gap_due && !row->discarded) {
        held.has_gap = true;
        held.gap = row->kept.event.id;
        held.gap_at = at_of(row);
    }
    held.at = at_of(row);
    held.ahead = !of->checkpoint.set || ph_position_cmp(held.at, of->checkpoint.cp.at) > 0;
    return held.rows > 0 || held.has_gap || held.ahead ? each(arg, &held) : 0;
}

int ph__memory_held(struct ph_memory_row *of, int (*each)(void *arg, const struct ph_held *held),
                    void *arg, struct ph_park_totals *ret)
{
    *ret = (struct ph_park_totals){.acts = of->acts};
    int rc = 0;
    for (size_t i = 0; i < of->parked_count && rc == 0; i++) {
        const struct ph_memory_parked *row = &of->parked[i];
        rc = tell_row(of, row, each, arg);
        ret->parked += !row->discarded && row->state == PH_PARK_PARKED;
        ret->dead += !row->discarded && row->state == PH_PARK_DEAD;
        ret->scheduled += !row->discarded && row->state == PH_PARK_SCHEDULED;
    }
    return rc;
}

/* Lends a row to the batch: 1, 0 when it has no more room, or an error. */
static int lend(const struct ph_memory_parked *row, struct ph_batch *batch, size_t bytes_max,
                struct ph_error *err)
{
    size_t size = row->kept.event.payload.len + row->kept.event.headers_json.len;
    if (batch->count == batch->cap || (batch->count > 0 && batch->bytes + size > bytes_max)) {
        return 0;
    }
    struct ph_event event;
    struct ph_tick_span *span = ph_arena_alloc(&batch->arena, sizeof *span);
    struct ph_park_row *park = ph_arena_alloc(&batch->arena, sizeof *park);
    const char *key = row->key ? row->key : "";
    char *key_copy = ph_arena_copy(&batch->arena, key, strlen(key));
    if (!span || !park || !key_copy || !ph__memory_lend(batch, &row->kept, &event)) {
        return ph__memory_no_room(err);
    }
    *span = (struct ph_tick_span){.tick = row->kept.tick};
    *park = (struct ph_park_row){.state = row->state,
                                 .key = {row->key ? key_copy : NULL, strlen(key)},
                                 .attempts = row->attempts,
                                 .passed = row->passed};
    event.span = span;
    event.park = park;
    *ph_batch_add(batch) = event;
    batch->bytes += size;
    return 1;
}

static bool has_come(const struct ph_memory_row *of, const struct ph_memory_parked *row)
{
    return row->next_us != 0 && row->next_us <= ph_clock_wall_us() && !row->discarded &&
           of->checkpoint.set && ph_position_cmp(at_of(row), of->checkpoint.cp.at) <= 0;
}

/* The row that came due first, behind (time, position) of the one before; NULL: none. */
static struct ph_memory_parked *next_due(struct ph_memory_row *of,
                                         const struct ph_memory_parked *before)
{
    struct ph_memory_parked *found = NULL;
    for (size_t i = 0; i < of->parked_count; i++) {
        struct ph_memory_parked *row = &of->parked[i];
        bool behind = !before || row->next_us > before->next_us ||
                      (row->next_us == before->next_us &&
                       row->kept.event.position > before->kept.event.position);
        bool first = !found || row->next_us < found->next_us ||
                     (row->next_us == found->next_us &&
                      row->kept.event.position < found->kept.event.position);
        if (has_come(of, row) && behind && first) {
            found = row;
        }
    }
    return found;
}

/* The head and the rows behind it, up to one that the checkpoint has not passed or that is dead. */
static int lend_queue(struct ph_memory_row *of, const struct ph_memory_parked *head,
                      struct ph_batch *batch, size_t bytes_max, struct ph_error *err)
{
    int rc = lend(head, batch, bytes_max, err);
    if (head->state == PH_PARK_SCHEDULED) {
        return rc;
    }
    for (const struct ph_memory_parked *row = head; rc == 1;) {
        row = find(of, head->key, row, false);
        if (!row || row->state != PH_PARK_PARKED ||
            ph_position_cmp(at_of(row), of->checkpoint.cp.at) > 0) {
            break;
        }
        rc = lend(row, batch, bytes_max, err);
    }
    return rc;
}

/* Until the next row comes due, whether the checkpoint has passed it or not. */
static int64_t wait_for_next(const struct ph_memory_row *of)
{
    int64_t wait_ms = -1, now = ph_clock_wall_us();
    for (size_t i = 0; i < of->parked_count; i++) {
        const struct ph_memory_parked *row = &of->parked[i];
        int64_t left = row->next_us > now ? (row->next_us - now + 999) / 1000 : 0;
        if (row->next_us != 0 && !row->discarded && (wait_ms < 0 || left < wait_ms)) {
            wait_ms = left;
        }
    }
    return wait_ms;
}

int ph__memory_due(struct ph_memory_row *of, struct ph_batch *batch, size_t bytes_max,
                   struct ph_due *ret, struct ph_error *err)
{
    int rc = 1;
    for (const struct ph_memory_parked *row = NULL; rc == 1 && (row = next_due(of, row));) {
        rc = lend_queue(of, row, batch, bytes_max, err);
    }
    *ret = (struct ph_due){.wait_ms = wait_for_next(of), .acts = of->acts};
    return rc < 0 ? rc : 0;
}

/* --- what people see and do ------------------------------------------------------------------- */

bool ph_memory_log_parked(struct ph_memory_log *log, const char *pipeline, int shard, size_t index,
                          struct ph_memory_parked_row *out)
{
    ph__memory_lock(log);
    const struct ph_memory_row *of = ph__memory_row(log, pipeline, shard);
    bool found = of && index < of->parked_count;
    if (found) {
        const struct ph_memory_parked *row = &of->parked[index];
        *out = (struct ph_memory_parked_row){.position = row->kept.event.position,
                                             .state = row->state,
                                             .key = row->key,
                                             .attempts = row->attempts,
                                             .passed = row->passed,
                                             .discarded = row->discarded};
    }
    ph__memory_unlock(log);
    return found;
}

/* Does something to the row of a dead event, with the log locked. */
static bool act(struct ph_memory_log *log, const char *pipeline, int shard, int64_t position,
                void (*what)(struct ph_memory_row *of, struct ph_memory_parked *row))
{
    ph__memory_lock(log);
    struct ph_memory_row *of = ph__memory_row(log, pipeline, shard);
    struct ph_memory_parked *row = of ? row_at(of, (struct ph_position){0, position}) : NULL;
    bool dead = row && row->state == PH_PARK_DEAD && !row->discarded;
    if (dead) {
        what(of, row);
        of->acts++;
    }
    ph__memory_unlock(log);
    return dead;
}

static void redrive(struct ph_memory_row *of, struct ph_memory_parked *row)
{
    row->state = PH_PARK_PARKED;
    row->attempts = 0;
    if (row->key) {
        only_head_is_due(of, row->key); /* one that was let pass may come back in front */
        promote(of, row->key);
    } else {
        row->next_us = ph_clock_wall_us();
    }
}

static void discard(struct ph_memory_row *of, struct ph_memory_parked *row)
{
    row->discarded = true;
    if (row->key) {
        promote(of, row->key);
    }
}

bool ph_memory_log_redrive(struct ph_memory_log *log, const char *pipeline, int shard,
                           int64_t position)
{
    return act(log, pipeline, shard, position, redrive);
}

bool ph_memory_log_discard(struct ph_memory_log *log, const char *pipeline, int shard,
                           int64_t position)
{
    return act(log, pipeline, shard, position, discard);
}

void ph_memory_log_pause(struct ph_memory_log *log, const char *pipeline, int shard, bool paused)
{
    ph__memory_lock(log);
    struct ph_memory_row *of = ph__memory_row(log, pipeline, shard);
    if (of) {
        of->paused = paused;
    }
    ph__memory_unlock(log);
}
