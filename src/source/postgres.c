/*
 * The PostgreSQL source: the outbox table as a log, read between ticks. This file opens it
 * (refusing what would break a promise), keeps the pipeline's checkpoint, and ends with the driver.
 * Promise: a checkpoint is written only under the epoch of the lease; nothing is read from a
 * database that the log was not made in.
 */
#include "source/postgres.h"

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "source/postgres_read.h"
#include "sql_postgres.h"

#define AT(member) offsetof(struct ph_pg_source_config, member)

const struct ph_option ph_pg_source_options[] = {
    {"poll_min", PH_OPT_DURATION, AT(poll_min_ms), "1ms", 1, 60000, NULL,
     "shortest time between two looks at the log"},
    {"poll_max", PH_OPT_DURATION, AT(poll_max_ms), "50ms", 1, 60000, NULL,
     "longest time between two looks at an idle log"},
    {"tick_min", PH_OPT_DURATION, AT(tick_min_ms), "3ms", 1, 60000, NULL,
     "shortest time between two ticks"},
    {"tick_idle", PH_OPT_DURATION, AT(tick_idle_ms), "10s", 100, 3600000, NULL,
     "a tick this often without events, so that an idle pipeline holds no retention back"},
    {"retention", PH_OPT_DURATION, AT(retention_ms), "7d", 1000, 3650LL * 86400000, NULL,
     "how long settled events stay in the log"},
    PH_OPTION_END,
};

/* The columns of q_identity.sql */
enum identity_column {
    ID_SYSTEM,
    ID_DATABASE,
    ID_TIMELINE,
    ID_RECOVERY,
    ID_SCHEMA,
    ID_FUTURE_ROWS,
    ID_ENCODING,
    ID_OWN_SYSTEM,
    ID_OWN_DATABASE,
    ID_SERVER_VERSION,
    ID_INSTALLED
};

static bool is(const PGresult *res, int column, const char *text)
{
    const char *value = ph_pg_value(res, 0, column);
    return value && strcmp(value, text) == 0;
}

#define PH_PG_ADOPT "posthorn adopt DB-URI --keep|--all|--since TIME|--from-position P [--shard N]"

static int refuse_identity(const PGresult *res, struct ph_error *err)
{
    if (is(res, ID_RECOVERY, "t")) {
        return ph_fail(err, PH_E_STANDBY,
                       "this PostgreSQL server is a standby: its snapshots do not show open "
                       "transactions; connect to the primary");
    }
    if (ph_pg_i64(res, 0, ID_SCHEMA) > PH_PG_SCHEMA_VERSION) {
        return ph_fail(err, PH_E_CONFIG,
                       "the schema posthorn has version %lld, this program knows version %d: use a "
                       "newer posthorn",
                       (long long)ph_pg_i64(res, 0, ID_SCHEMA), PH_PG_SCHEMA_VERSION);
    }
    if (ph_pg_i64(res, 0, ID_SCHEMA) < PH_PG_SCHEMA_VERSION) {
        return ph_fail(err, PH_E_CONFIG,
                       "the schema posthorn has version %lld, this program needs version %d: "
                       "migrate it with posthorn init DB-URI",
                       (long long)ph_pg_i64(res, 0, ID_SCHEMA), PH_PG_SCHEMA_VERSION);
    }
    if (ph_pg_i64(res, 0, ID_SERVER_VERSION) < 140000) {
        return ph_fail(err, PH_E_CONFIG, "PostgreSQL %lld is too old: 14 or newer is needed",
                       (long long)ph_pg_i64(res, 0, ID_SERVER_VERSION) / 10000);
    }
    if (!is(res, ID_ENCODING, "UTF8")) {
        return ph_fail(err, PH_E_CONFIG, "the database's encoding must be UTF8");
    }
    if (!is(res, ID_OWN_SYSTEM, PQgetvalue(res, 0, ID_SYSTEM)) ||
        !is(res, ID_OWN_DATABASE, PQgetvalue(res, 0, ID_DATABASE))) {
        return ph_fail(err, PH_E_DIVERGED,
                       "the log was made in another database (system %s, database %s; this is "
                       "system %s, database %s): it was restored, copied or upgraded. Nothing is "
                       "sent until a person says where to go on: " PH_PG_ADOPT,
                       PQgetvalue(res, 0, ID_OWN_SYSTEM), PQgetvalue(res, 0, ID_OWN_DATABASE),
                       PQgetvalue(res, 0, ID_SYSTEM), PQgetvalue(res, 0, ID_DATABASE));
    }
    if (ph_pg_i64(res, 0, ID_FUTURE_ROWS) > 0) {
        return ph_fail(err, PH_E_DIVERGED,
                       "%s events in posthorn.outbox have transaction ids beyond the present: they "
                       "were restored from elsewhere, and would be read in the wrong order or not "
                       "at all. Nothing is sent until a person says where to go on: " PH_PG_ADOPT,
                       PQgetvalue(res, 0, ID_FUTURE_ROWS));
    }
    return 0;
}

/* A missing schema comes as one of several errors; to a person it is one thing. */
static int no_schema(const PGresult *res, struct ph_error *err, int rc)
{
    (void)res;
    if (strstr(err->text, "SQLSTATE 3F000") || strstr(err->text, "SQLSTATE 42P01") ||
        strstr(err->text, "SQLSTATE 42883")) {
        return ph_fail(
            err, PH_E_CONFIG,
            "the database has no schema posthorn, or not all of it: run posthorn init DB-URI");
    }
    return rc;
}

static int check_identity(struct ph_pg_source *s, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_identity, 0, NULL, &res, err);
    if (rc < 0) {
        return no_schema(res, err, rc);
    }
    if (!res || PQntuples(res) != 1) {
        return ph_fail(err, PH_E_CONFIG, "posthorn.meta is empty: run posthorn init DB-URI");
    }
    s->timeline = (int)ph_pg_i64(res, 0, ID_TIMELINE);
    (void)snprintf(s->log, sizeof s->log, "%s:%s:%s", PQgetvalue(res, 0, ID_SYSTEM),
                   PQgetvalue(res, 0, ID_DATABASE), PQgetvalue(res, 0, ID_INSTALLED));
    return refuse_identity(res, err);
}

static void source_close(void *ctx)
{
    struct ph_pg_source *s = ctx;
    if (!s) {
        return;
    }
    PQclear(s->answer);
    ph_pg_close(&s->read);
    ph_pg_close(&s->book);
    ph_buf_free(&s->sql);
    ph_buf_free(&s->seen_text);
    ph_arena_free(&s->text);
    ph_arena_free(&s->now_arena);
    for (int i = 0; i < 2; i++) {
        ph_arena_free(&s->ticks_arena[i]);
        ph_arena_free(&s->seen_arena[i]);
    }
    ph_mem_free(s->rows);
    ph_mem_free(s);
}

/* Bounds of what the reader keeps about ticks: far above 256 ticks of a server with thousands of
 * open transactions. */
#define TEXT_MAX     ((size_t)16 << 20)
#define SINK_UNASKED (-2) /* in sink_tick: see 0005_exactly_once.sql */
#define TICKS_MAX    ((size_t)256 << 20)

static struct ph_pg_source *new_source(const struct ph_source_env *env,
                                       const struct ph_pg_source_config *config)
{
    struct ph_pg_source *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->env = env;
    s->config = *config;
    s->row_bytes = 512;
    ph_buf_init(&s->sql, TEXT_MAX);
    ph_buf_init(&s->seen_text, TEXT_MAX);
    ph_arena_init(&s->text, TEXT_MAX);
    ph_arena_init(&s->now_arena, TEXT_MAX);
    for (int i = 0; i < 2; i++) {
        ph_arena_init(&s->ticks_arena[i], TICKS_MAX);
        ph_arena_init(&s->seen_arena[i], TEXT_MAX);
    }
    s->rows = ph_mem_alloc((env->batch_events + 1) * sizeof *s->rows);
    if (!s->rows) {
        source_close(s);
        return NULL;
    }
    return s;
}

/* Shards that are counted otherwise would read some events twice and others not at all. */
static int check_shards(struct ph_pg_source *s, struct ph_error *err)
{
    const char *const params[] = {s->env->pipeline};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_shards, 1, params, &res, err);
    if (rc < 0 || !res || PQntuples(res) == 0 || ph_pg_i64(res, 0, 0) == s->env->shards) {
        return rc;
    }
    return ph_fail(err, PH_E_CONFIG,
                   "pipeline %s has %s shards, and the configuration says %d: stop all its "
                   "instances and run posthorn reshard DB-URI %s --shards %d, or put shards back",
                   s->env->pipeline, PQgetvalue(res, 0, 0), s->env->shards, s->env->pipeline,
                   s->env->shards);
}

static int source_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                       struct ph_error *err)
{
    struct ph_pg_source *s = new_source(env, config);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a source");
    }
    int rc = ph_pg_open(&s->book, env->uri, env->pipeline, env->stop, err);
    if (rc == 0) {
        rc = check_identity(s, err);
    }
    if (rc == 0) { /* before the lease is taken: a lease that is given back behind a refusal is in
                      disorder */
        rc = check_shards(s, err);
    }
    if (rc == 0) {
        rc = ph_pg_open(&s->read, env->uri, env->pipeline, env->stop, err);
    }
    if (rc < 0) {
        source_close(s);
        return rc;
    }
    *ret_ctx = s;
    return 0;
}

static int source_timeline(void *ctx)
{
    const struct ph_pg_source *s = ctx;
    return s->timeline;
}

/* Copies a text into the arena that load and begin return from. */
static struct ph_str keep(struct ph_pg_source *s, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    return (struct ph_str){ph_arena_copy(&s->text, text ? text : "", len + (text != NULL)), len};
}

static int keep_check(const struct ph_checkpoint *cp, struct ph_error *err)
{
    if (!cp->snapshot.ptr || !cp->base_snapshot.ptr || !cp->start_snapshot.ptr) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a checkpoint");
    }
    return 0;
}

static int refuse_epoch(const struct ph_pg_source *s, struct ph_error *err)
{
    return ph_fail(err, PH_E_FENCED, "the checkpoint of pipeline %s belongs to a newer instance",
                   s->env->pipeline);
}

/* What the row says of the sink's own checkpoint. */
static void read_sink(const PGresult *res, struct ph_checkpoint *cp)
{
    if (ph_pg_value(res, 0, 7)) {
        cp->sink_at = (struct ph_position){ph_pg_i64(res, 0, 7), ph_pg_i64(res, 0, 8)};
        cp->in_sink = cp->sink_at.tick == SINK_UNASKED ? PH_SINK_UNASKED
                      : cp->sink_at.tick < 0           ? PH_SINK_VOID
                                                       : PH_SINK_HOLDS;
    }
}

/* The row as it is stored, whoever owns it. */
static int read_checkpoint(struct ph_pg_source *s, int64_t epoch, struct ph_checkpoint *ret,
                           struct ph_error *err)
{
    char shard[16];
    (void)snprintf(shard, sizeof shard, "%d", s->env->shard);
    const char *const params[] = {s->env->pipeline, shard};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_checkpoint_load, 2, params, &res, err);
    if (rc < 0 || !res || PQntuples(res) == 0) {
        return rc;
    }
    if (ph_pg_i64(res, 0, 6) > epoch) {
        return refuse_epoch(s, err);
    }
    ph_arena_reset(&s->text, PH_PG_ARENA_KEEP);
    *ret = (struct ph_checkpoint){
        .at = {ph_pg_i64(res, 0, 0), ph_pg_i64(res, 0, 1)},
        .snapshot = keep(s, ph_pg_value(res, 0, 2)),
        .base_snapshot = keep(s, ph_pg_value(res, 0, 3)),
        .start_snapshot = keep(s, ph_pg_value(res, 0, 4)),
        .log = ph_str_from(s->log),
        .timeline = (int)ph_pg_i64(res, 0, 5),
        .epoch = epoch,
    };
    read_sink(res, ret);
    rc = keep_check(ret, err);
    return rc < 0 ? rc : 1;
}

static int source_load(void *ctx, int64_t epoch, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    char shard[16], number[24];
    (void)snprintf(shard, sizeof shard, "%d", s->env->shard);
    (void)snprintf(number, sizeof number, "%lld", (long long)epoch);
    const char *const params[] = {s->env->pipeline, shard, number};
    s->epoch = epoch;
    int rc = check_shards(s, err);
    if (rc == 0) {
        rc = ph_pg_query(&s->book, ph_sql_postgres_q_checkpoint_claim, 3, params, NULL, err);
    }
    return rc < 0 ? rc : read_checkpoint(s, epoch, ret, err);
}

static int source_contains(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    char tick[24], timeline[16];
    (void)snprintf(tick, sizeof tick, "%lld", (long long)cp->at.tick);
    (void)snprintf(timeline, sizeof timeline, "%d", cp->timeline);
    ph_arena_reset(&s->text, PH_PG_ARENA_KEEP);
    char *snapshot = ph_arena_copy(&s->text, cp->snapshot.ptr, cp->snapshot.len);
    if (!snapshot) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a checkpoint");
    }
    const char *const params[] = {tick, snapshot, timeline};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_contains, 3, params, &res, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_pg_snapshot present, theirs;
    rc = ph_pg_snapshot_parse(ph_str_from(ph_pg_value(res, 0, 2)), &s->text, &present, err);
    if (rc == 0) {
        rc = ph_pg_snapshot_parse(cp->snapshot, &s->text, &theirs, err);
    }
    if (rc < 0) {
        return rc;
    }
    return is(res, 0, "t") && is(res, 1, "t") && ph_pg_snapshot_contains(&present, &theirs);
}

/* A new tick's number and text, made by SQL of its own on the book connection. */
static int tick_now(struct ph_pg_source *s, struct ph_checkpoint *ret, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_script(&s->book, ph_sql_postgres_q_tick_new, &res, err);
    if (rc < 0) {
        return rc;
    }
    if (!res || PQntuples(res) != 1) {
        return ph_fail(err, PH_E_DATA, "posthorn.make_tick made no tick");
    }
    ret->at = (struct ph_position){ph_pg_i64(res, 0, 0), 0};
    ret->snapshot = keep(s, ph_pg_value(res, 0, 1));
    return 0;
}

static int tick_before(struct ph_pg_source *s, int64_t time_us, struct ph_checkpoint *ret,
                       struct ph_error *err)
{
    char us[24];
    (void)snprintf(us, sizeof us, "%lld", (long long)time_us);
    const char *const params[] = {us};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_begin_time, 1, params, &res, err);
    if (rc == 0 && res && PQntuples(res) == 1) {
        ret->at = (struct ph_position){ph_pg_i64(res, 0, 0), 0};
        ret->snapshot = keep(s, ph_pg_value(res, 0, 1));
    }
    return rc;
}

/* All shards begin at one place: there, or where another of them has said before. */
static int begin_shards(struct ph_pg_source *s, struct ph_checkpoint *cp, struct ph_error *err)
{
    char shards[16], tick[24], timeline[16];
    (void)snprintf(shards, sizeof shards, "%d", s->env->shards);
    (void)snprintf(tick, sizeof tick, "%lld", (long long)cp->at.tick);
    (void)snprintf(timeline, sizeof timeline, "%d", cp->timeline);
    const char *const params[] = {s->env->pipeline, shards, tick, cp->snapshot.ptr, timeline};
    int rc = ph_pg_query(&s->book, ph_sql_postgres_q_begin_shards, 5, params, NULL, err);
    if (rc == 0) {
        rc = read_checkpoint(s, INT64_MAX, cp, err);
    }
    return rc < 0 ? rc : 0;
}

static int source_begin(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                        struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    ph_arena_reset(&s->text, PH_PG_ARENA_KEEP);
    *ret = (struct ph_checkpoint){.timeline = s->timeline,
                                  .snapshot = keep(s, PH_PG_SNAPSHOT_EMPTY),
                                  .log = ph_str_from(s->log)};
    int rc = 0;
    switch (start->kind) {
    case PH_START_EARLIEST:
        break;
    case PH_START_LATEST:
        rc = tick_now(s, ret, err);
        break;
    case PH_START_TIME:
        rc = tick_before(s, start->time_us, ret, err);
        break;
    }
    ret->base_snapshot = ret->start_snapshot = ret->snapshot;
    if (rc == 0) {
        rc = keep_check(ret, err);
    }
    return rc < 0 || s->env->shards == 1 ? rc : begin_shards(s, ret, err);
}

static int source_seek(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    return ph_pg_read_seek(ctx, cp, err);
}

static int source_fetch(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    return ph_pg_read_fetch(ctx, batch, err);
}

static int source_fd(void *ctx)
{
    const struct ph_pg_source *s = ctx;
    return s->state == PH_PG_REST ? -1 : PQsocket(s->read.conn);
}

static int64_t source_due_us(void *ctx)
{
    const struct ph_pg_source *s = ctx;
    return s->state == PH_PG_REST ? s->due_us : s->asked_us + s->read.timeout_ms * 1000;
}

static bool source_at_end(void *ctx)
{
    const struct ph_pg_source *s = ctx;
    return s->end_seen && s->state == PH_PG_REST && s->ticks_head == s->ticks_count;
}

static int source_settle(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    if (s->asked_of_book != PH_PG_BOOK_NOTHING) {
        return 0;
    }
    char shard[16], tick[24], position[24], timeline[16], epoch[24], sink_tick[24], sink_at[24];
    (void)snprintf(shard, sizeof shard, "%d", s->env->shard);
    (void)snprintf(tick, sizeof tick, "%lld", (long long)cp->at.tick);
    (void)snprintf(position, sizeof position, "%lld", (long long)cp->at.position);
    (void)snprintf(timeline, sizeof timeline, "%d", s->timeline);
    (void)snprintf(epoch, sizeof epoch, "%lld", (long long)cp->epoch);
    (void)snprintf(sink_tick, sizeof sink_tick, "%lld", (long long)cp->sink_at.tick);
    (void)snprintf(sink_at, sizeof sink_at, "%lld", (long long)cp->sink_at.position);
    bool holds = cp->in_sink == PH_SINK_HOLDS;
    ph_arena_reset(&s->text, PH_PG_ARENA_KEEP);
    const char *snapshot = ph_arena_copy(&s->text, cp->snapshot.ptr, cp->snapshot.len);
    const char *base = ph_arena_copy(&s->text, cp->base_snapshot.ptr, cp->base_snapshot.len);
    const char *start = ph_arena_copy(&s->text, cp->start_snapshot.ptr, cp->start_snapshot.len);
    if (!snapshot || !base || !start) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a checkpoint");
    }
    const char *const params[] = {
        s->env->pipeline,
        shard,
        tick,
        position,
        snapshot,
        base,
        start,
        timeline,
        epoch,
        holds ? sink_tick : NULL,
        holds ? sink_at : NULL,
    };
    PH_FAILPOINT("checkpoint.before");
    int rc = ph_pg_send(&s->book, ph_sql_postgres_q_checkpoint_save, 11, params, err);
    if (rc < 0) {
        return rc;
    }
    s->asked_of_book = PH_PG_BOOK_SETTLE;
    return 1;
}

/* A checkpoint comes back as a row, park() says true: neither happens under an older epoch. */
static int source_settled(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct ph_pg_source *s = ctx;
    if (s->asked_of_book == PH_PG_BOOK_NOTHING) {
        return 1;
    }
    if (s->asked_of_book == PH_PG_BOOK_DUE) {
        return 0;
    }
    int ready = timeout_ms > 0 ? ph_pg_wait(&s->book, timeout_ms, err) : ph_pg_ready(&s->book, err);
    if (ready <= 0) {
        return ready;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = PQgetResult(s->book.conn);
    int rc = ph_pg_finish(&s->book, err);
    bool was_park = s->asked_of_book == PH_PG_BOOK_PARK;
    s->asked_of_book = PH_PG_BOOK_NOTHING;
    if (rc < 0) {
        return rc;
    }
    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        return ph_pg_fail_result(res, err);
    }
    if (PQntuples(res) != 1 || is(res, 0, "f")) {
        return refuse_epoch(s, err);
    }
    PH_FAILPOINT(was_park ? "park.after" : "checkpoint.after");
    return 1;
}

const struct ph_source_driver ph_source_postgres = {
    .name = "postgresql",
    .summary = "the outbox table of PostgreSQL 14 to 18, read between ticks: postgresql://...",
    .options = ph_pg_source_options,
    .config_size = sizeof(struct ph_pg_source_config),
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
    .held = ph_pg_held,
    .park = ph_pg_park,
    .due = ph_pg_due,
    .close = source_close,
    .lease_open = ph_pg_lease_open,
    .lease_claim = ph_pg_lease_claim,
    .lease_renew = ph_pg_lease_renew,
    .lease_release = ph_pg_lease_release,
    .maintain = ph_pg_maintain,
    .lease_close = ph_pg_lease_close,
};
