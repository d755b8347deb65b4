/*
 * Reads an SQLite pipeline's parked rows: whose keys wait, and what is due. Place: the driver's
 * held and due. Promise: changes nothing, and holds a read transaction no longer than it takes to
 * copy one batch; however many rows wait, those that are not due are not looked at.
 */
#include <assert.h>

#include "base/clock.h"
#include "source/sqlite.h"
#include "sql_sqlite.h"

/* The columns of q_held.sql. */
enum { HELD_KEY, HELD_ROWS, HELD_GAP, HELD_GAP_TICK, HELD_GAP_POSITION };

/* The columns of q_due.sql and q_due_queue.sql behind those of q_read.sql. */
enum {
    COL_STATE = 11,
    COL_KEY,
    COL_ATTEMPTS,
    COL_PASSED,
    COL_SETTLED, /* q_due_queue.sql alone */
};

static struct ph_uuid uuid_at(sqlite3_stmt *stmt, int column)
{
    struct ph_uuid id;
    return ph_uuid_parse(ph_sqlite_column(stmt, column), &id) ? id : (struct ph_uuid){{0}};
}

static struct ph_position position_at(sqlite3_stmt *stmt, int tick_column)
{
    return (struct ph_position){sqlite3_column_int64(stmt, tick_column),
                                sqlite3_column_int64(stmt, tick_column + 1)};
}

/* --- held --------------------------------------------------------------------------------------
 */

static int tell_held(struct ph_sqlite_source *s, const struct ph_sqlite_param params[2],
                     int (*each)(void *arg, const struct ph_held *held), void *arg,
                     struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_held, params, 2, &stmt, err);
    while (rc == 1) {
        struct ph_held held = {.key = ph_sqlite_column(stmt, HELD_KEY),
                               .rows = sqlite3_column_int64(stmt, HELD_ROWS),
                               .has_gap = sqlite3_column_type(stmt, HELD_GAP) != SQLITE_NULL};
        if (held.has_gap) {
            held.gap = uuid_at(stmt, HELD_GAP);
            held.gap_at = position_at(stmt, HELD_GAP_TICK);
        }
        rc = each(arg, &held);
        if (rc == 0) {
            rc = ph_sqlite_step(&s->read, stmt, err);
        }
    }
    return rc;
}

static int tell_ahead(struct ph_sqlite_source *s, const struct ph_sqlite_param params[2],
                      int (*each)(void *arg, const struct ph_held *held), void *arg,
                      struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_held_ahead, params, 2, &stmt, err);
    while (rc == 1) {
        const struct ph_held held = {.ahead = true, .at = position_at(stmt, 0)};
        rc = each(arg, &held);
        if (rc == 0) {
            rc = ph_sqlite_step(&s->read, stmt, err);
        }
    }
    return rc;
}

int ph_sqlite_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
                   struct ph_park_totals *ret, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    /* first, so that an act of a person between the two is noticed later */
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_held_totals, params, 2, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct ph_park_totals){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                   sqlite3_column_int64(stmt, 2), sqlite3_column_int64(stmt, 3)};
    (void)sqlite3_reset(stmt);
    rc = tell_ahead(s, params, each, arg, err);
    return rc < 0 ? rc : tell_held(s, params, each, arg, err);
}

/* --- due ---------------------------------------------------------------------------------------
 */

/* What is being filled. */
struct filling {
    struct ph_sqlite_source *s;
    struct ph_batch *batch;
    const struct ph_tick_span *span;
};

static bool take_park(sqlite3_stmt *stmt, struct ph_arena *arena, struct ph_event *event)
{
    struct ph_park_row *row = ph_arena_alloc(arena, sizeof *row);
    struct ph_str key = ph_sqlite_column(stmt, COL_KEY);
    char *copy = key.ptr ? ph_arena_copy(arena, key.ptr, key.len) : NULL;
    if (!row || (key.ptr && !copy)) {
        return false;
    }
    bool scheduled = ph_str_is(ph_sqlite_column(stmt, COL_STATE), "scheduled");
    *row = (struct ph_park_row){
        .state = scheduled ? PH_PARK_SCHEDULED : PH_PARK_PARKED,
        .key = {copy, key.len},
        .attempts = sqlite3_column_int(stmt, COL_ATTEMPTS),
        .passed = sqlite3_column_int(stmt, COL_PASSED) != 0,
    };
    event->park = row;
    return true;
}

/* 1 = taken; 0 = the batch is full, and the row comes due again. */
static int take_row(const struct filling *f, sqlite3_stmt *stmt, struct ph_error *err)
{
    struct ph_batch *batch = f->batch;
    struct ph_event *event = batch->count < f->s->env->batch_events ? ph_batch_add(batch) : NULL;
    if (!event) {
        return 0;
    }
    const char *flaw = NULL;
    if (!ph_sqlite_row_take(stmt, &batch->arena, event, &flaw) ||
        !take_park(stmt, &batch->arena, event)) {
        batch->count--;
        return batch->count > 0 ? 0 : ph_fail(err, PH_E_NOMEM, "no memory for a batch");
    }
    size_t bytes = batch->bytes + event->payload.len + event->headers_json.len;
    if (bytes > f->s->env->batch_bytes && batch->count > 1) {
        batch->count--;
        return 0;
    }
    batch->bytes = bytes;
    event->span = f->span;
    if (flaw) {
        ph_batch_verdict(batch, event, PH_REJECT, flaw);
    }
    return 1;
}

/* The queue whose head is due, up to a dead row or one that the checkpoint has not passed: 1 when
 * the batch has room left. */
static int take_queue(const struct filling *f, sqlite3_stmt *head, sqlite3_stmt *queue,
                      struct ph_error *err)
{
    struct ph_sqlite_source *s = f->s;
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard),
                                             ph_sqlite_str(ph_sqlite_column(head, COL_KEY))};
    int rc = ph_sqlite_bind(&s->read, queue, params, 3, err);
    int room = 1;
    bool first = true;
    while (rc == 0 && room == 1 && (rc = ph_sqlite_step(&s->read, queue, err)) == 1) {
        rc = 0;
        if ((first && ph_sqlite_row_position(queue) != ph_sqlite_row_position(head)) ||
            !ph_str_is(ph_sqlite_column(queue, COL_STATE), "parked") ||
            sqlite3_column_int(queue, COL_SETTLED) == 0) {
            break;
        }
        first = false;
        room = take_row(f, queue, err);
    }
    (void)sqlite3_reset(queue);
    return rc < 0 ? rc : room;
}

static int take_due(const struct filling *f, sqlite3_stmt *queue, struct ph_error *err)
{
    struct ph_sqlite_source *s = f->s;
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard),
                                             ph_sqlite_i64(ph_clock_wall_us() / 1000)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *due = NULL;
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_due, params, 3, &due, err);
    while (rc == 1) {
        bool alone = sqlite3_column_type(due, COL_KEY) == SQLITE_NULL ||
                     !ph_str_is(ph_sqlite_column(due, COL_STATE), "parked");
        rc = alone ? take_row(f, due, err) : take_queue(f, due, queue, err);
        if (rc == 1) {
            rc = ph_sqlite_step(&s->read, due, err);
        }
    }
    return rc;
}

/* Behind the rows, so that none of them is a newer owner's. */
static int look_ahead(struct ph_sqlite_source *s, struct ph_due *ret, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_due_next, params, 2, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    if (sqlite3_column_int64(stmt, 2) > s->epoch) {
        return ph_sqlite_refuse_epoch(s, err);
    }
    *ret = (struct ph_due){.wait_ms = -1, .acts = sqlite3_column_int64(stmt, 1)};
    if (sqlite3_column_type(stmt, 0) != SQLITE_NULL) {
        int64_t wait_ms = sqlite3_column_int64(stmt, 0) - ph_clock_wall_us() / 1000;
        ret->wait_ms = wait_ms > 0 ? wait_ms : 0;
    }
    return 0;
}

static int read_due(struct ph_sqlite_source *s, struct ph_batch *batch, struct ph_due *ret,
                    struct ph_error *err)
{
    struct ph_tick_span *span = ph_arena_alloc(&batch->arena, sizeof *span);
    if (!span) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a batch");
    }
    *span = (struct ph_tick_span){.tick = 1};
    const struct filling f = {s, batch, span};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *queue = NULL;
    int rc = ph_sqlite_prepare(&s->read, ph_sql_sqlite_q_due_queue, &queue, err);
    if (rc == 0) {
        rc = take_due(&f, queue, err);
    }
    return rc < 0 ? rc : look_ahead(s, ret, err);
}

int ph_sqlite_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    assert(batch->count == 0);
    s->read.busy = false;
    int rc = read_due(s, batch, ret, err);
    if (rc == PH_E_UNAVAILABLE && s->read.busy) {
        ph_error_clear(err);
        ph_batch_reset(batch);
        return PH_FETCH_NOTHING;
    }
    return rc < 0 ? rc : PH_FETCH_BATCH;
}
