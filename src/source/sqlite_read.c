/*
 * Looking and reading. A look asks whether anything was committed, up to which position, and makes
 * that last; then batches are read up to there, without another sync.
 * Promise: nothing leaves that a crash of the machine could take back; a read transaction lasts no
 * longer than copying one batch, so that WAL checkpoints are not held up.
 *
 * Order: one transaction writes at a time, and AUTOINCREMENT gives each row a higher position than
 * all before it, so positions become visible in rising order and none appears behind the cursor.
 */
#include <assert.h>

#include "base/clock.h"
#include "source/sqlite.h"
#include "sql_sqlite.h"

#define BUSY_MAX_US 30000000
#define SYNC_SHARE  4 /* at most one part in so many of the time is spent in syncs */
#define RETRY_US    1000

void ph_sqlite_read_seek(struct ph_sqlite_source *s, int64_t position)
{
    s->cursor = position;
    s->durable = position;
    s->seen_version = -1;
    s->due_us = 0;
    s->rest_us = s->config.poll_min_ms * 1000;
    s->end_seen = false;
}

/* The one number that a statement gives. */
static int ask(struct ph_sqlite *db, sqlite3_stmt *stmt, int64_t *ret, struct ph_error *err)
{
    int rc = ph_sqlite_step(db, stmt, err);
    if (rc == 1) {
        *ret = sqlite3_column_int64(stmt, 0);
        (void)sqlite3_reset(stmt);
        return 0;
    }
    return rc < 0 ? rc : ph_fail(err, PH_E_SOFTWARE, "%s gave no answer", db->name);
}

int ph_sqlite_read_last(struct ph_sqlite_source *s, int64_t *ret, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_prepare(&s->read, ph_sql_sqlite_q_last, &stmt, err);
    return rc < 0 ? rc : ask(&s->read, stmt, ret, err);
}

/* Nothing new: the next look comes a little later than this one did. */
static int rest(struct ph_sqlite_source *s)
{
    int64_t us = s->rest_us, most = s->config.poll_max_ms * 1000;
    s->rest_us = us + us / 8 > most ? most : us + us / 8;
    s->due_us = ph_clock_mono_us() + us;
    s->end_seen = true;
    return PH_FETCH_NOTHING;
}

/* Makes everything up to newest last. A disk whose syncs take long is asked less often. */
static int make_durable(struct ph_sqlite_source *s, int64_t newest, struct ph_error *err)
{
    int64_t began_us = ph_clock_mono_us();
    int rc = ph_sqlite_sync(&s->read, err);
    if (rc < 0) {
        return rc;
    }
    int64_t took_us = ph_clock_mono_us() - began_us, least_us = s->config.poll_min_ms * 1000;
    s->due_us = began_us + (took_us * SYNC_SHARE > least_us ? took_us * SYNC_SHARE : least_us);
    s->rest_us = least_us;
    s->durable = newest;
    s->end_seen = false;
    return 1;
}

/* Nothing lies behind the cursor: because all was read, or because the log went back under us, as
 * when a copy is restored into the open file; its next events would be taken for settled ones. */
static int rest_at_end(struct ph_sqlite_source *s, int64_t newest, struct ph_error *err)
{
    int64_t last = newest;
    int rc = newest < s->cursor ? ph_sqlite_read_last(s, &last, err) : 0;
    if (rc < 0) {
        return rc;
    }
    if (last < s->cursor) {
        return ph_fail(err, PH_E_UNAVAILABLE,
                       "%s was read up to position %lld and now ends at %lld: an older copy was "
                       "put in its place",
                       s->read.name, (long long)s->cursor, (long long)last);
    }
    return rest(s);
}

/* 1 when there is something to read, 0 when not. The version is read first, so that what is
 * committed in between is seen now or at the next look. */
static int look(struct ph_sqlite_source *s, struct ph_error *err)
{
    s->read.busy = false;
    if (ph_sqlite_moved(&s->read)) {
        return ph_fail(err, PH_E_UNAVAILABLE, "another file was put in the place of %s",
                       s->read.name);
    }
    int64_t version = 0, newest = 0;
    int rc = ask(&s->read, s->version, &version, err);
    if (rc < 0 || version == s->seen_version) {
        return rc < 0 ? rc : rest(s);
    }
    rc = ask(&s->read, s->newest, &newest, err);
    if (rc < 0) {
        return rc;
    }
    rc = newest > s->cursor ? make_durable(s, newest, err) : rest_at_end(s, newest, err);
    if (rc >= 0) {
        s->seen_version = version;
    }
    return rc;
}

/* One span for the whole batch: the log has one tick, and what its snapshot stands for is the log
 * itself. */
static struct ph_tick_span *new_span(const struct ph_sqlite_source *s, struct ph_arena *arena)
{
    struct ph_tick_span *span = ph_arena_alloc(arena, sizeof *span);
    const char *log_id = ph_arena_copy(arena, s->log_id, PH_SQLITE_LOG_ID_LEN);
    if (!span || !log_id) {
        return NULL;
    }
    struct ph_str id = {log_id, PH_SQLITE_LOG_ID_LEN};
    *span = (struct ph_tick_span){.tick = 1, .snapshot = id, .base_snapshot = id};
    return span;
}

/* 1 = taken; 0 = the batch is full, and the row comes again with the next one. */
static int take_row(struct ph_sqlite_source *s, struct ph_batch *batch,
                    const struct ph_tick_span *span, struct ph_error *err)
{
    size_t events = s->env->batch_events < batch->cap ? s->env->batch_events : batch->cap;
    struct ph_event *event = batch->count < events ? ph_batch_add(batch) : NULL;
    if (!event) {
        return 0;
    }
    const char *flaw = NULL;
    if (!ph_sqlite_row_take(s->page, &batch->arena, event, &flaw)) {
        batch->count--;
        return ph_fail(err, PH_E_NOMEM, "no memory for a batch");
    }
    size_t bytes = batch->bytes + event->payload.len + event->headers_json.len;
    if (bytes > s->env->batch_bytes && batch->count > 1) {
        batch->count--;
        return 0;
    }
    batch->bytes = bytes;
    event->span = span;
    if (flaw) {
        ph_batch_verdict(batch, event, PH_REJECT, flaw);
    }
    return 1;
}

/* Reads until the batch is full or the page at its end: 0, or an error. */
static int read_rows(struct ph_sqlite_source *s, struct ph_batch *batch,
                     const struct ph_tick_span *span, struct ph_error *err)
{
    int rc;
    while ((rc = ph_sqlite_step(&s->read, s->page, err)) == 1) {
        rc = take_row(s, batch, span, err);
        if (rc <= 0) {
            return rc;
        }
    }
    if (rc == 0 && batch->count == 0) {
        s->cursor = s->durable; /* what was there is gone */
    }
    return rc;
}

static int fill(struct ph_sqlite_source *s, struct ph_batch *batch, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(s->cursor), ph_sqlite_i64(s->durable)};
    const struct ph_tick_span *span = new_span(s, &batch->arena);
    if (!span) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a batch");
    }
    int rc = ph_sqlite_bind(&s->read, s->page, params, 2, err);
    if (rc == 0) {
        rc = read_rows(s, batch, span, err);
    }
    (void)sqlite3_reset(s->page);
    if (rc < 0 || batch->count == 0) {
        return rc < 0 ? rc : PH_FETCH_NOTHING;
    }
    s->cursor = batch->events[batch->count - 1].position;
    batch->end = (struct ph_checkpoint){
        .at = {1, s->cursor},
        .snapshot = span->snapshot,
        .base_snapshot = span->snapshot,
    };
    batch->has_end = true;
    return PH_FETCH_BATCH;
}

/* Another's lock is no loss of the log, unless it stays. */
static int wait_for_lock(struct ph_sqlite_source *s, struct ph_error *err)
{
    int64_t now = ph_clock_mono_us();
    s->busy_us = s->busy_us ? s->busy_us : now;
    if (now - s->busy_us > BUSY_MAX_US) {
        s->busy_us = 0;
        return PH_E_UNAVAILABLE; /* err says it */
    }
    ph_error_clear(err);
    s->due_us = now + RETRY_US;
    return PH_FETCH_NOTHING;
}

int ph_sqlite_read_fetch(struct ph_sqlite_source *s, struct ph_batch *batch, struct ph_error *err)
{
    assert(batch->count == 0);
    if (s->cursor >= s->durable && ph_clock_mono_us() < s->due_us) {
        return PH_FETCH_NOTHING;
    }
    int rc = s->cursor < s->durable ? 1 : look(s, err);
    if (rc == 1) {
        rc = fill(s, batch, err);
    }
    if (rc == PH_E_UNAVAILABLE && s->read.busy) {
        ph_batch_reset(batch);
        return wait_for_lock(s, err);
    }
    s->busy_us = 0;
    return rc;
}
