/*
 * Parked rows of a PostgreSQL pipeline: which keys wait, changes, and what is due. Place: behind
 * the driver (postgres.c), on its book connection, beside the storing of checkpoints; one statement
 * is under way there at a time. Promise: what the server sends is checked before it is used.
 */
#include <assert.h>
#include <stdio.h>

#include "base/failpoint.h"
#include "source/postgres.h"
#include "sql_postgres.h"

struct shard_text {
    char text[16];
};

static struct shard_text shard_of(const struct ph_pg_source *s)
{
    struct shard_text shard;
    (void)snprintf(shard.text, sizeof shard.text, "%d", s->env->shard);
    return shard;
}

/* --- which keys wait -------------------------------------------------------------------------- */

/* The columns of q_held.sql */
enum held_column { HELD_KEY, HELD_ROWS, HELD_GAP, HELD_GAP_TICK, HELD_GAP_POSITION };

static int tell_key(const PGresult *res, int row,
                    int (*each)(void *arg, const struct ph_held *held), void *arg,
                    struct ph_error *err)
{
    struct ph_held held = {
        .key = {PQgetvalue(res, row, HELD_KEY), (size_t)PQgetlength(res, row, HELD_KEY)},
        .rows = ph_pg_i64(res, row, HELD_ROWS),
        .gap_at = {ph_pg_i64(res, row, HELD_GAP_TICK), ph_pg_i64(res, row, HELD_GAP_POSITION)},
    };
    const char *gap = ph_pg_value(res, row, HELD_GAP);
    held.has_gap = gap != NULL;
    if (gap && !ph_uuid_parse(ph_str_from(gap), &held.gap)) {
        return ph_fail(err, PH_E_DATA, "posthorn.parked has an event_id that is none");
    }
    return each(arg, &held);
}

static int tell_ahead(struct ph_pg_source *s, const char *const params[2],
                      int (*each)(void *arg, const struct ph_held *held), void *arg,
                      struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *rows = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_held_ahead, 2, params, &rows, err);
    for (int i = 0; rc == 0 && rows && i < PQntuples(rows); i++) {
        const struct ph_held held = {.ahead = true,
                                     .at = {ph_pg_i64(rows, i, 0), ph_pg_i64(rows, i, 1)}};
        rc = each(arg, &held);
    }
    return rc;
}

int ph_pg_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
               struct ph_park_totals *ret, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    struct shard_text shard = shard_of(s);
    const char *const params[] = {s->env->pipeline, shard.text};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *totals = NULL;
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *keys = NULL;
    assert(s->asked_of_book == PH_PG_BOOK_NOTHING);
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_held_totals, 2, params, &totals, err);
    if (rc < 0 || !totals || PQntuples(totals) != 1) {
        return rc;
    }
    *ret = (struct ph_park_totals){.acts = ph_pg_i64(totals, 0, 0),
                                   .parked = ph_pg_i64(totals, 0, 1),
                                   .dead = ph_pg_i64(totals, 0, 2),
                                   .scheduled = ph_pg_i64(totals, 0, 3)};
    rc = tell_ahead(s, params, each, arg, err);
    if (rc < 0 || ret->parked + ret->dead == 0) {
        return rc;
    }
    rc = ph_pg_query(&s->book, ph_sql_postgres_q_held, 2, params, &keys, err);
    for (int i = 0; rc == 0 && keys && i < PQntuples(keys); i++) {
        rc = tell_key(keys, i, each, arg, err);
    }
    return rc;
}

/* --- changes ---------------------------------------------------------------------------------- */

int ph_pg_park(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
               struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    if (s->asked_of_book != PH_PG_BOOK_NOTHING) {
        return 0;
    }
    struct shard_text shard = shard_of(s);
    char number[24];
    struct ph_buf json;
    ph_buf_init(&json, (size_t)64 << 20);
    (void)snprintf(number, sizeof number, "%lld", (long long)epoch);
    ph_park_json(changes, count, &json);
    int rc = ph_buf_check(&json, "changes of parked rows", err);
    if (rc == 0) {
        const char *const params[] = {s->env->pipeline, shard.text, number, ph_buf_text(&json)};
        PH_FAILPOINT("park.before");
        rc = ph_pg_send(&s->book, ph_sql_postgres_q_park, 4, params, err);
    }
    ph_buf_free(&json);
    if (rc < 0) {
        return rc;
    }
    s->asked_of_book = PH_PG_BOOK_PARK;
    return 1;
}

/* --- what is due ------------------------------------------------------------------------------ */

/* The columns of q_due.sql */
enum due_column {
    DUE_ACTS,
    DUE_WAIT,
    DUE_TICK,
    DUE_POSITION,
    DUE_STATE,
    DUE_ATTEMPTS,
    DUE_PASSED,
    DUE_KEY,
    DUE_XID,
    DUE_CREATED,
    DUE_EVENT_ID,
    DUE_AGGREGATE_TYPE,
    DUE_AGGREGATE_ID,
    DUE_EVENT_TYPE,
    DUE_HEADERS,
    DUE_PAYLOAD,
    DUE_PAYLOAD_BYTES,
    DUE_CONTENT_TYPE,
    DUE_DELIVER_AFTER,
    DUE_EPOCH
};

struct reading {
    const PGresult *res;
    int row;
    struct ph_arena *arena;
    bool no_room;
};

/* A copy of a column in the arena; ptr NULL for NULL. */
static struct ph_str text_of(struct reading *r, int column)
{
    if (PQgetisnull(r->res, r->row, column)) {
        return (struct ph_str){NULL, 0};
    }
    size_t len = (size_t)PQgetlength(r->res, r->row, column);
    char *copy = ph_arena_copy(r->arena, PQgetvalue(r->res, r->row, column), len);
    r->no_room |= !copy;
    return (struct ph_str){copy, len};
}

static struct ph_str bytes_of(struct reading *r, int column)
{
    size_t len = 0;
    if (PQgetisnull(r->res, r->row, column)) {
        return (struct ph_str){NULL, 0};
    }
    unsigned char *bytes =
        PQunescapeBytea((const unsigned char *)PQgetvalue(r->res, r->row, column), &len);
    char *copy = bytes ? ph_arena_copy(r->arena, bytes, len) : NULL;
    r->no_room |= !copy;
    PQfreemem(bytes);
    return (struct ph_str){copy, len};
}

static bool is_true(const PGresult *res, int row, int column)
{
    return PQgetvalue(res, row, column)[0] == 't';
}

static bool state_of(const char *text, enum ph_park_state *ret)
{
    *ret = strcmp(text, "scheduled") == 0 ? PH_PARK_SCHEDULED : PH_PARK_PARKED;
    return *ret == PH_PARK_SCHEDULED || strcmp(text, "parked") == 0;
}

static void read_payload(struct reading *r, struct ph_event *event)
{
    event->payload = text_of(r, DUE_PAYLOAD);
    if (!PQgetisnull(r->res, r->row, DUE_PAYLOAD_BYTES)) {
        event->payload = bytes_of(r, DUE_PAYLOAD_BYTES);
        event->content_type = text_of(r, DUE_CONTENT_TYPE);
        if (!event->content_type.ptr) {
            event->content_type = PH_STR("application/octet-stream");
        }
    }
}

static bool read_park(struct reading *r, struct ph_event *event)
{
    struct ph_park_row *park = ph_arena_alloc(r->arena, sizeof *park);
    struct ph_tick_span *span = ph_arena_alloc(r->arena, sizeof *span);
    r->no_room |= !park || !span;
    if (r->no_room) {
        return true;
    }
    *span = (struct ph_tick_span){.tick = ph_pg_i64(r->res, r->row, DUE_TICK)};
    *park = (struct ph_park_row){.key = text_of(r, DUE_KEY),
                                 .attempts = (int)ph_pg_i64(r->res, r->row, DUE_ATTEMPTS),
                                 .passed = is_true(r->res, r->row, DUE_PASSED)};
    event->span = span;
    event->park = park;
    return state_of(PQgetvalue(r->res, r->row, DUE_STATE), &park->state);
}

static int read_event(struct reading *r, struct ph_batch *batch, struct ph_event *event,
                      struct ph_error *err)
{
    event->position = ph_pg_i64(r->res, r->row, DUE_POSITION);
    event->xid = (uint64_t)ph_pg_i64(r->res, r->row, DUE_XID);
    event->created_us = ph_pg_i64(r->res, r->row, DUE_CREATED);
    event->deliver_after_us = ph_pg_i64(r->res, r->row, DUE_DELIVER_AFTER);
    event->aggregate_type = text_of(r, DUE_AGGREGATE_TYPE);
    event->aggregate_id = text_of(r, DUE_AGGREGATE_ID);
    event->event_type = text_of(r, DUE_EVENT_TYPE);
    event->headers_json = text_of(r, DUE_HEADERS);
    read_payload(r, event);
    bool sound = read_park(r, event) &&
                 ph_uuid_parse(ph_str_from(PQgetvalue(r->res, r->row, DUE_EVENT_ID)), &event->id);
    if (r->no_room) {
        return ph_fail(err, PH_E_NOMEM, "no memory for parked rows");
    }
    if (!sound) {
        return ph_fail(err, PH_E_DATA, "posthorn.parked gave a row that is not an event");
    }
    bool both = !PQgetisnull(r->res, r->row, DUE_PAYLOAD) &&
                !PQgetisnull(r->res, r->row, DUE_PAYLOAD_BYTES);
    if (both) {
        ph_batch_verdict(batch, event, PH_REJECT, "the row has both payload and payload_bytes");
    }
    batch->bytes += event->payload.len + event->headers_json.len;
    return 0;
}

static int read_rows(struct ph_batch *batch, const PGresult *res, struct ph_error *err)
{
    bool none = PQntuples(res) == 1 && PQgetisnull(res, 0, DUE_POSITION);
    int rc = 0;
    for (int row = 0; !none && row < PQntuples(res) && rc == 0; row++) {
        struct ph_event *event = ph_batch_add(batch);
        if (!event) {
            return ph_fail(err, PH_E_SOFTWARE, "a batch is smaller than what was read for it");
        }
        struct reading reading = {.res = res, .row = row, .arena = &batch->arena};
        rc = read_event(&reading, batch, event, err);
    }
    return rc;
}

static int ask_due(struct ph_pg_source *s, struct ph_error *err)
{
    struct shard_text shard = shard_of(s);
    char limit[24], bytes[24];
    (void)snprintf(limit, sizeof limit, "%zu", s->env->batch_events);
    (void)snprintf(bytes, sizeof bytes, "%zu", s->env->batch_bytes);
    const char *const params[] = {s->env->pipeline, shard.text, limit, bytes};
    int rc = ph_pg_send(&s->book, ph_sql_postgres_q_due, 4, params, err);
    if (rc == 0) {
        s->asked_of_book = PH_PG_BOOK_DUE;
    }
    return rc;
}

int ph_pg_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    if (s->asked_of_book == PH_PG_BOOK_NOTHING) {
        int rc = ask_due(s, err);
        return rc < 0 ? rc : PH_FETCH_NOTHING;
    }
    int ready = s->asked_of_book == PH_PG_BOOK_DUE ? ph_pg_ready(&s->book, err) : 0;
    if (ready <= 0) {
        return ready < 0 ? ready : PH_FETCH_NOTHING;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = PQgetResult(s->book.conn);
    int rc = ph_pg_finish(&s->book, err);
    s->asked_of_book = PH_PG_BOOK_NOTHING;
    if (rc < 0) {
        return rc;
    }
    if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) == 0) {
        return ph_pg_fail_result(res, err);
    }
    if (ph_pg_i64(res, 0, DUE_EPOCH) > s->epoch) {
        return ph_fail(err, PH_E_FENCED,
                       "the parked rows of pipeline %s belong to a newer instance",
                       s->env->pipeline);
    }
    ret->acts = ph_pg_i64(res, 0, DUE_ACTS);
    ret->wait_ms = PQgetisnull(res, 0, DUE_WAIT) ? -1 : ph_pg_i64(res, 0, DUE_WAIT);
    rc = read_rows(batch, res, err);
    return rc < 0 ? rc : PH_FETCH_BATCH;
}
