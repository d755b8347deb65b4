/*
 * Reading between two ticks. A straight little machine on one connection: probe, pending, tick or
 * ticks, then rows of a group of small ticks or pages of a large one. Each fetch moves it as far as
 * it goes without waiting.
 *
 * Promise: a tick is stored before its first row leaves; rows come out ordered by (tick, position),
 * each once, the same for every reader and every attempt, whatever the batch size. No snapshot is
 * held while the sink is slow: a statement is sent only when there is room for its rows, and its
 * rows are taken as they come.
 */
#include "source/postgres_read.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "db/pg_bind.h"
#include "sql_postgres.h"

enum step { STEP_WAIT, STEP_ON, STEP_BATCH };

static int rest(struct ph_pg_source *s, int64_t us)
{
    s->state = PH_PG_REST;
    s->due_us = ph_clock_mono_us() + us;
    return STEP_ON;
}

/* After a look that found nothing: the next one an eighth later each time. */
static int rest_longer(struct ph_pg_source *s)
{
    int64_t us = s->rest_us, most = s->config.poll_max_ms * 1000;
    s->rest_us = us + us / 8 > most ? most : us + us / 8;
    s->end_seen = true;
    return rest(s, us);
}

static int asked(struct ph_pg_source *s, enum ph_pg_state state, int rc)
{
    s->state = state;
    s->asked_us = ph_clock_mono_us();
    PQclear(s->answer);
    s->answer = NULL;
    return rc < 0 ? rc : STEP_ON;
}

static int ask_probe(struct ph_pg_source *s, struct ph_error *err)
{
    return asked(s, PH_PG_PROBE, ph_pg_send(&s->read, ph_sql_postgres_q_probe, 0, NULL, err));
}

/* The last tick we know of, read or not. */
static const struct ph_pg_tick *newest(const struct ph_pg_source *s)
{
    return s->ticks_count > 0 ? &s->ticks[s->ticks_count - 1] : &s->prev;
}

static int ask_ticks(struct ph_pg_source *s, struct ph_error *err)
{
    char known[24], limit[24];
    (void)snprintf(known, sizeof known, "%lld", (long long)newest(s)->tick);
    (void)snprintf(limit, sizeof limit, "%d", PH_PG_TICKS_MAX);
    const char *const params[] = {known, limit};
    return asked(s, PH_PG_TICKS, ph_pg_send(&s->read, ph_sql_postgres_q_ticks, 2, params, err));
}

static int ask_tick(struct ph_pg_source *s, struct ph_error *err)
{
    const struct ph_pg_bind binds[] = {
        {.name = "known", .kind = PH_PG_BIND_I64, .i64 = newest(s)->tick},
        {.name = "limit", .kind = PH_PG_BIND_I64, .i64 = PH_PG_TICKS_MAX},
    };
    ph_buf_clear(&s->sql);
    int rc = ph_pg_bind(&s->sql, ph_sql_postgres_q_tick, binds, 2, err);
    if (rc == 0) {
        PH_FAILPOINT("tick.before");
        rc = ph_pg_send_script(&s->read, ph_buf_text(&s->sql), err);
    }
    s->want_tick = false;
    s->last_tick_us = ph_clock_mono_us();
    return asked(s, PH_PG_TICK, rc);
}

/* Those of before's open transactions that are over in now: only their rows can have become
 * visible. */
static void put_ended(struct ph_buf *buf, const struct ph_pg_snapshot *before,
                      const struct ph_pg_snapshot *now)
{
    ph_buf_putc(buf, '{');
    bool first = true;
    for (size_t i = 0; i < before->xip_count; i++) {
        if (ph_pg_snapshot_sees(now, before->xip[i])) {
            if (!first) {
                ph_buf_putc(buf, ',');
            }
            ph_buf_put_u64(buf, before->xip[i]);
            first = false;
        }
    }
    ph_buf_putc(buf, '}');
}

static int ask_pending(struct ph_pg_source *s, const struct ph_pg_snapshot *now,
                       struct ph_error *err)
{
    char xmax[24];
    (void)snprintf(xmax, sizeof xmax, "%llu", (unsigned long long)s->seen.xmax);
    ph_buf_clear(&s->sql);
    put_ended(&s->sql, &s->seen, now);
    int rc = ph_buf_check(&s->sql, "a list of transactions", err);
    if (rc == 0) {
        const char *const params[] = {xmax, ph_buf_text(&s->sql)};
        rc = ph_pg_send(&s->read, ph_sql_postgres_q_pending, 2, params, err);
    }
    return asked(s, PH_PG_PENDING, rc);
}

/* How many rows of the size seen of late fill a batch. */
static int64_t rows_max(const struct ph_pg_source *s)
{
    int64_t fit = (int64_t)s->env->batch_bytes / (s->row_bytes * 5 / 4 + 1);
    int64_t most = (int64_t)s->env->batch_events;
    int64_t least = most < 16 ? most : 16;
    return fit < least ? least : fit > most ? most : fit;
}

/* Sends one of the reading statements for the ticks up to ticks[head + group - 1]. */
static int ask_rows(struct ph_pg_source *s, enum ph_pg_state state, const char *sql,
                    struct ph_error *err)
{
    const struct ph_pg_snapshot *prev = &s->prev.snapshot;
    const struct ph_pg_snapshot *cur = &s->ticks[s->ticks_head + s->group - 1].snapshot;
    PH_CLEANUP(ph_cleanup_mem)
    uint64_t *ended = ph_mem_alloc((prev->xip_count + 1) * sizeof *ended);
    if (!ended) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a list of %zu transactions",
                       prev->xip_count);
    }
    size_t ended_count = 0;
    for (size_t i = 0; i < prev->xip_count; i++) {
        if (ph_pg_snapshot_sees(cur, prev->xip[i])) {
            ended[ended_count++] = prev->xip[i];
        }
    }
    const struct ph_pg_bind binds[] = {
        {.name = "prev_xmax", .kind = PH_PG_BIND_U64, .u64 = prev->xmax},
        {.name = "prev_xip", .kind = PH_PG_BIND_XIDS, .xids = ended, .xid_count = ended_count},
        {.name = "cur_xmin", .kind = PH_PG_BIND_U64, .u64 = cur->xmin},
        {.name = "cur_xmax", .kind = PH_PG_BIND_U64, .u64 = cur->xmax},
        {.name = "cur", .kind = PH_PG_BIND_SNAPSHOT, .snapshot = cur},
        {.name = "after", .kind = PH_PG_BIND_I64, .i64 = s->after},
        {.name = "last", .kind = PH_PG_BIND_I64, .i64 = s->page_last},
        {.name = "limit", .kind = PH_PG_BIND_I64, .i64 = s->limit},
        {.name = "shards", .kind = PH_PG_BIND_I64, .i64 = s->env->shards},
        {.name = "shard", .kind = PH_PG_BIND_I64, .i64 = s->env->shard},
    };
    ph_buf_clear(&s->sql);
    int rc = ph_pg_bind(&s->sql, sql, binds, sizeof binds / sizeof *binds, err);
    if (rc == 0) {
        rc = ph_pg_send_script(&s->read, ph_buf_text(&s->sql), err);
    }
    s->row_count = 0;
    s->rows_bytes = 0;
    s->overflow = s->in_copy = s->copy_begun = false;
    return asked(s, state, rc);
}

static int ask_group(struct ph_pg_source *s, struct ph_error *err)
{
    size_t left = s->ticks_count - s->ticks_head;
    s->group = s->group_next < left ? s->group_next : left;
    s->limit = rows_max(s) + 1;
    bool none_open = s->prev.snapshot.xip_count == 0; /* half the planning */
    return ask_rows(s, PH_PG_GROUP,
                    none_open ? ph_sql_postgres_q_read_range : ph_sql_postgres_q_read_group, err);
}

static int ask_page(struct ph_pg_source *s, struct ph_error *err)
{
    s->group = 1;
    s->limit = rows_max(s);
    return ask_rows(s, PH_PG_PAGE, ph_sql_postgres_q_read_page, err);
}

static int on_rest(struct ph_pg_source *s, struct ph_error *err)
{
    if (s->ticks_head < s->ticks_count) {
        s->end_seen = false;
        return s->page_last > 0 ? ask_page(s, err) : ask_group(s, err);
    }
    int64_t now = ph_clock_mono_us();
    if (now < s->due_us) {
        return STEP_WAIT;
    }
    if (s->want_tick || now - s->last_tick_us >= s->config.tick_idle_ms * 1000) {
        return ask_tick(s, err);
    }
    return ask_probe(s, err);
}

/* Takes results as they come. STEP_ON when the statement is over and its rows are in answer. */
static int collect(struct ph_pg_source *s, struct ph_error *err)
{
    for (;;) {
        int ready = ph_pg_ready(&s->read, err);
        if (ready <= 0) {
            return ready < 0 ? ready : STEP_WAIT;
        }
        PGresult *res = PQgetResult(s->read.conn);
        if (!res) {
            return STEP_ON;
        }
        s->asked_us = ph_clock_mono_us();
        ExecStatusType status = PQresultStatus(res);
        if (status == PGRES_TUPLES_OK) {
            PQclear(s->answer);
            s->answer = res;
            continue;
        }
        int rc = status == PGRES_COMMAND_OK ? 0 : ph_pg_fail_result(res, err);
        PQclear(res);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Remembers a snapshot as looked at: nothing in it needs another look. */
static int saw(struct ph_pg_source *s, struct ph_str text, struct ph_error *err)
{
    int side = 1 - s->seen_side;
    ph_arena_reset(&s->seen_arena[side], 0);
    struct ph_pg_snapshot snapshot;
    int rc = ph_pg_snapshot_parse(text, &s->seen_arena[side], &snapshot, err);
    if (rc < 0) {
        return rc;
    }
    s->seen = snapshot;
    s->seen_side = side;
    return 0;
}

static int on_probe(struct ph_pg_source *s, struct ph_error *err)
{
    struct ph_str now_text = ph_str_from(s->answer ? ph_pg_value(s->answer, 0, 0) : NULL);
    if (!now_text.ptr) {
        return ph_fail(err, PH_E_DATA, "PostgreSQL gave no snapshot");
    }
    if (ph_pg_i64(s->answer, 0, 1) > newest(s)->tick && !s->ticks_listed) {
        return ask_ticks(s, err);
    }
    s->ticks_listed = false;
    if (ph_str_eq(now_text, ph_buf_str(&s->seen_text))) {
        return rest_longer(s);
    }
    ph_buf_clear(&s->seen_text);
    ph_buf_put_str(&s->seen_text, now_text);
    ph_arena_reset(&s->now_arena, 0);
    struct ph_pg_snapshot now;
    int rc = ph_pg_snapshot_parse(now_text, &s->now_arena, &now, err);
    return rc < 0 ? rc : ask_pending(s, &now, err);
}

static int on_pending(struct ph_pg_source *s, struct ph_error *err)
{
    const char *found = s->answer ? ph_pg_value(s->answer, 0, 0) : NULL;
    if (!found || *found != 't') {
        int rc = saw(s, ph_buf_str(&s->seen_text), err);
        return rc < 0 ? rc : rest_longer(s);
    }
    s->end_seen = false;
    s->want_tick = true;
    s->rest_us = s->config.poll_min_ms * 1000;
    int64_t wait_us = s->last_tick_us + s->config.tick_min_ms * 1000 - ph_clock_mono_us();
    return wait_us > 0 ? rest(s, wait_us) : ask_tick(s, err);
}

/* A tick whose text and list lie in the arena. */
static int copy_tick(struct ph_arena *arena, int64_t number, struct ph_str text,
                     struct ph_pg_tick *out, struct ph_error *err)
{
    char *copy = ph_arena_copy(arena, text.ptr, text.len);
    if (!copy) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a tick");
    }
    out->tick = number;
    out->text = (struct ph_str){copy, text.len};
    return ph_pg_snapshot_parse(out->text, arena, &out->snapshot, err);
}

/* Makes the listed ticks the queue, which is empty; prev moves over to their side. */
static int take_ticks(struct ph_pg_source *s, struct ph_error *err)
{
    int count = s->answer ? PQntuples(s->answer) : 0;
    if (count == 0) {
        s->ticks_listed =
            true; /* a tick under way elsewhere, or rolled back: do not ask again at once */
        return rest(s, 0);
    }
    assert(s->ticks_head == s->ticks_count && count <= PH_PG_TICKS_MAX);
    if (s->state == PH_PG_TICK) {
        PH_FAILPOINT("tick.after");
    }
    struct ph_arena *arena = &s->ticks_arena[1 - s->ticks_side];
    ph_arena_reset(arena, PH_PG_ARENA_KEEP);
    struct ph_pg_tick prev = {0};
    int rc = copy_tick(arena, newest(s)->tick, newest(s)->text, &prev, err);
    for (int i = 0; i < count && rc == 0; i++) {
        struct ph_str text = ph_str_from(ph_pg_value(s->answer, i, 1));
        rc = copy_tick(arena, ph_pg_i64(s->answer, i, 0), text, &s->ticks[i], err);
    }
    if (rc < 0) {
        return rc;
    }
    s->prev = prev;
    s->ticks_side = 1 - s->ticks_side;
    s->ticks_head = 0;
    s->ticks_count = (size_t)count;
    s->ticks_listed = false;
    if (s->state == PH_PG_TICKS) { /* another reader's */
        s->last_tick_us = ph_clock_mono_us();
    }
    rc = saw(s, newest(s)->text, err);
    return rc < 0 ? rc : rest(s, 0);
}

static int on_bounds(struct ph_pg_source *s, struct ph_error *err)
{
    (void)err;
    int64_t least = s->answer ? ph_pg_i64(s->answer, 0, 0) : 0;
    s->page_last = s->answer ? ph_pg_i64(s->answer, 0, 1) : 0;
    if (s->page_last == 0) {
        s->page_last = 1; /* its rows are gone: the page will be empty and end the tick */
    }
    if (least - 1 > s->after) {
        s->after = least - 1;
    }
    return rest(s, 0);
}

/* Moves prev behind the ticks that were read. */
static void pass_ticks(struct ph_pg_source *s, size_t count)
{
    s->prev = s->ticks[s->ticks_head + count - 1];
    s->ticks_head += count;
    s->after = 0;
    s->page_last = 0;
}

static int on_rows_over(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    if (s->row_count > 0) {
        int64_t mean = (int64_t)(s->rows_bytes / s->row_count);
        s->row_bytes = mean > s->row_bytes ? mean : (s->row_bytes * 3 + mean) / 4;
    }
    if (s->state == PH_PG_PAGE) {
        bool whole = !s->overflow && (int64_t)s->row_count < s->limit;
        int rc = ph_pg_batch_page(s, batch, whole, err);
        if (rc < 0) {
            return rc;
        }
        if (whole) {
            pass_ticks(s, 1);
        } else {
            s->after = s->rows[s->row_count - 1].position;
        }
        (void)rest(s, 0);
        return STEP_BATCH;
    }
    if (s->overflow) {
        ph_batch_reset(batch);
        if (s->group > 1) {
            s->group_next = s->group / 2;
            return rest(s, 0);
        }
        return ask_rows(s, PH_PG_BOUNDS, ph_sql_postgres_q_read_bounds, err);
    }
    int rc = ph_pg_batch_group(s, batch, err);
    if (rc < 0) {
        return rc;
    }
    if (s->group == s->group_next && (int64_t)s->row_count < s->limit / 4) {
        s->group_next = s->group * 2 > PH_PG_TICKS_MAX ? PH_PG_TICKS_MAX : s->group * 2;
    }
    pass_ticks(s, s->group);
    (void)rest(s, 0);
    return STEP_BATCH;
}

/* Ends a COPY that brings more bytes than a batch holds. */
static int cut(struct ph_pg_source *s, struct ph_error *err)
{
    char text[256];
    PGcancel *cancel = PQgetCancel(s->read.conn);
    if (cancel) {
        (void)PQcancel(cancel, text, sizeof text);
        PQfreeCancel(cancel);
    }
    s->in_copy = false;
    s->overflow = true;
    int rc = ph_pg_drop_copy(&s->read, err);
    return rc < 0 ? rc : ph_pg_query(&s->read, "ROLLBACK", 0, NULL, NULL, err);
}

/* Keeps one row for the batch: 0, 1 when no further row may come in, or an error. */
static int take_row(struct ph_pg_source *s, struct ph_batch *batch, const char *bytes, size_t len,
                    struct ph_error *err)
{
    if (!s->copy_begun) {
        s->copy_begun = true;
        if (ph_pg_row_skip_header(&bytes, &len) < 0) {
            return ph_fail(err, PH_E_DATA, "COPY did not begin with the binary header");
        }
    }
    if (len <= 2) {
        return 0; /* the trailer, or the header alone */
    }
    if (s->row_count > 0 && s->rows_bytes + len > s->env->batch_bytes) {
        return 1;
    }
    uint64_t xid;
    int64_t position;
    if ((int64_t)s->row_count >= s->limit || !ph_pg_row_peek(bytes, len, &xid, &position)) {
        return ph_fail(err, PH_E_DATA, "COPY gave a row that was not asked for (%zu bytes)", len);
    }
    char *copy = ph_arena_copy(&batch->arena, bytes, len);
    if (!copy) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a row of %zu bytes", len);
    }
    s->rows[s->row_count++] =
        (struct ph_pg_row){.len = (uint32_t)len, .position = position, .bytes = copy, .xid = xid};
    s->rows_bytes += len;
    if (s->state == PH_PG_GROUP && (int64_t)s->row_count == s->limit) {
        s->overflow = true; /* the statement asked for one more than fits, and it came */
    }
    return 0;
}

/* Rows that have arrived: STEP_ON at the end of COPY. */
static int take_rows(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    bool consumed = false;
    for (;;) {
        char *bytes = NULL;
        int len = PQgetCopyData(s->read.conn, &bytes, 1);
        if (len > 0) {
            int rc = take_row(s, batch, bytes, (size_t)len, err);
            PQfreemem(bytes);
            if (rc > 0) {
                return cut(s, err) < 0 ? err->code : STEP_ON;
            }
            if (rc < 0) {
                return rc;
            }
            continue;
        }
        if (len == -1) {
            s->in_copy = false;
            return STEP_ON;
        }
        if (len < -1) {
            return ph_pg_fail_conn(&s->read, err);
        }
        if (consumed) {
            return STEP_WAIT;
        }
        if (PQconsumeInput(s->read.conn) == 0) {
            return ph_pg_fail_conn(&s->read, err);
        }
        s->asked_us = ph_clock_mono_us();
        consumed = true;
    }
}

static int on_rows(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    for (;;) {
        if (s->in_copy) {
            int rc = take_rows(s, batch, err);
            if (rc != STEP_ON) {
                return rc;
            }
        }
        int ready = ph_pg_ready(&s->read, err);
        if (ready <= 0) {
            return ready < 0 ? ready : STEP_WAIT;
        }
        PGresult *res = PQgetResult(s->read.conn);
        if (!res) {
            return on_rows_over(s, batch, err);
        }
        ExecStatusType status = PQresultStatus(res);
        int rc = 0;
        if (status == PGRES_COPY_OUT) {
            s->in_copy = true;
        } else if (status != PGRES_COMMAND_OK) {
            rc = ph_pg_fail_result(res, err);
        }
        PQclear(res);
        if (rc < 0) {
            return rc;
        }
    }
}

/* What to do when a statement's answer is complete. */
static int on_answer(struct ph_pg_source *s, struct ph_error *err)
{
    static int (*const next[])(struct ph_pg_source *, struct ph_error *) = {
        [PH_PG_PROBE] = on_probe,  [PH_PG_PENDING] = on_pending, [PH_PG_TICKS] = take_ticks,
        [PH_PG_TICK] = take_ticks, [PH_PG_BOUNDS] = on_bounds,
    };
    int rc = collect(s, err);
    return rc == STEP_ON ? next[s->state](s, err) : rc;
}

int ph_pg_read_fetch(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    for (;;) {
        int rc;
        if (s->state == PH_PG_REST) {
            rc = on_rest(s, err);
        } else if (s->state == PH_PG_GROUP || s->state == PH_PG_PAGE) {
            rc = on_rows(s, batch, err);
        } else {
            rc = on_answer(s, err);
        }
        if (rc == STEP_WAIT) {
            if (s->state != PH_PG_REST &&
                ph_clock_mono_us() - s->asked_us > s->read.timeout_ms * 1000) {
                return ph_fail(err, PH_E_UNAVAILABLE, "PostgreSQL gave no answer for %lld s",
                               (long long)(s->read.timeout_ms / 1000));
            }
            return PH_FETCH_NOTHING;
        }
        if (rc != STEP_ON) {
            return rc == STEP_BATCH ? PH_FETCH_BATCH : rc;
        }
    }
}

int ph_pg_read_seek(struct ph_pg_source *s, const struct ph_checkpoint *cp, struct ph_error *err)
{
    bool inside = !ph_str_eq(cp->snapshot, cp->base_snapshot);
    struct ph_arena *arena = &s->ticks_arena[1 - s->ticks_side];
    ph_arena_reset(arena, PH_PG_ARENA_KEEP);
    struct ph_pg_tick base = {0}, tick = {0};
    int rc = copy_tick(arena, cp->at.tick - (inside ? 1 : 0), cp->base_snapshot, &base, err);
    if (rc == 0) {
        rc = copy_tick(arena, cp->at.tick, cp->snapshot, &tick, err);
    }
    if (rc < 0) {
        return ph_fail_prefix(err, "checkpoint");
    }
    s->prev = base;
    s->ticks_side = 1 - s->ticks_side;
    s->ticks_head = s->ticks_count = 0;
    s->after = 0;
    if (inside) { /* the rest of its tick first, from the checkpoint alone */
        s->ticks[0] = tick;
        s->ticks_count = 1;
        s->after = cp->at.position;
    }
    s->page_last = 0;
    s->group_next = 1;
    s->rest_us = s->config.poll_min_ms * 1000;
    s->want_tick = s->end_seen = s->ticks_listed = false;
    s->last_tick_us = ph_clock_mono_us();
    ph_buf_clear(&s->seen_text);
    (void)rest(s, 0);
    return saw(s, tick.text, err);
}
