/*
 * The SQLite source: the table posthorn_outbox as a log, read by position. This file opens it,
 * keeps the pipeline's checkpoint, and ends with the driver.
 * Promise: a checkpoint is written only under the epoch of the lease; the one write lock is taken
 * for a single statement, at most once a settle_interval, and for one short transaction when events
 * leave the flow or come back; never by reading.
 *
 * A position is (1, position): SQLite needs no ticks. The snapshot texts of a checkpoint hold the
 * log's identity; start_snapshot holds the position at which the pipeline began.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "source/sqlite.h"
#include "sql_sqlite.h"

#define SETTLE_MAX_US 30000000 /* so long another's lock may keep a checkpoint from its place */
#define READ_BUSY_MS  20

#define AT(member)    offsetof(struct ph_sqlite_source_config, member)

static const struct ph_option sqlite_options[] = {
    {"poll_min", PH_OPT_DURATION, AT(poll_min_ms), "1ms", 1, 60000, NULL,
     "shortest time between two looks at the log"},
    {"poll_max", PH_OPT_DURATION, AT(poll_max_ms), "50ms", 1, 60000, NULL,
     "longest time between two looks at an idle log"},
    {"retention", PH_OPT_DURATION, AT(retention_ms), "7d", 1000, 3650LL * 86400000, NULL,
     "how long settled events stay in the log"},
    PH_OPTION_END,
};

static void source_close(void *ctx)
{
    struct ph_sqlite_source *s = ctx;
    if (s) {
        ph_sqlite_close(&s->read);
        ph_sqlite_close(&s->book);
        ph_buf_free(&s->park.json);
        ph_mem_free(s);
    }
}

static int open_read(struct ph_sqlite_source *s, struct ph_error *err)
{
    int rc = ph_sqlite_open(&s->read, s->env->uri, PH_SQLITE_READ, err);
    if (rc == 0) {
        rc = ph_sqlite_check(&s->read, s->log_id, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->read, ph_sql_sqlite_q_version, &s->version, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->read, ph_sql_sqlite_q_newest, &s->newest, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->read, ph_sql_sqlite_q_read, &s->page, err);
    }
    return rc;
}

/* The application's own commits run the WAL checkpoints; in the relay the keeper's connection does,
 * so that none of their syncs falls into the flow. */
static int open_book(struct ph_sqlite_source *s, struct ph_error *err)
{
    int rc = ph_sqlite_open(&s->book, s->env->uri, PH_SQLITE_WRITE, err);
    if (rc == 0) {
        rc = ph_sqlite_script(&s->book, "PRAGMA wal_autocheckpoint = 0", err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->book, ph_sql_sqlite_q_checkpoint_save, &s->save, err);
    }
    return rc < 0 ? rc : ph_sqlite_park_prepare(s, err);
}

int ph_sqlite_check_shards(const struct ph_source_env *env, struct ph_error *err)
{
    return env->shards > 1 ? ph_fail(err, PH_E_CONFIG,
                                     "shards needs PostgreSQL: one instance at a time reads the "
                                     "log of an SQLite file; leave shards away")
                           : 0;
}

static int source_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                       struct ph_error *err)
{
    int rc = ph_sqlite_check_shards(env, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_sqlite_source *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a source");
    }
    s->env = env;
    s->config = *(const struct ph_sqlite_source_config *)config;
    rc = open_read(s, err);
    if (rc == 0) {
        rc = open_book(s, err);
    }
    if (rc < 0) {
        source_close(s);
        return rc;
    }
    s->read.busy_ms = READ_BUSY_MS;
    ph_sqlite_read_seek(s, 0);
    *ret_ctx = s;
    return 0;
}

static int source_timeline(void *ctx)
{
    (void)ctx;
    return 0;
}

/* A checkpoint at a position; its texts live as long as the source. */
static struct ph_checkpoint checkpoint_at(struct ph_sqlite_source *s, int64_t position,
                                          int64_t start, int64_t epoch)
{
    struct ph_str id = {s->log_id, PH_SQLITE_LOG_ID_LEN};
    (void)snprintf(s->start_text, sizeof s->start_text, "%lld", (long long)start);
    return (struct ph_checkpoint){
        .at = {1, position},
        .snapshot = id,
        .base_snapshot = id,
        .start_snapshot = ph_str_from(s->start_text),
        .log = id,
        .epoch = epoch,
    };
}

int ph_sqlite_refuse_epoch(const struct ph_sqlite_source *s, struct ph_error *err)
{
    return ph_fail(err, PH_E_FENCED, "the checkpoint of pipeline %s belongs to a newer instance",
                   s->env->pipeline);
}

/* A log that ends in front of its own reader was taken apart. */
static int check_behind(struct ph_sqlite_source *s, int64_t position, struct ph_error *err)
{
    int64_t last = 0;
    int rc = ph_sqlite_read_last(s, &last, err);
    if (rc == 0 && position > last) {
        return ph_fail(err, PH_E_DIVERGED,
                       "pipeline %s has read up to position %lld, but the log in %s ends at %lld: "
                       "its rows and sqlite_sequence were replaced, and new events would be "
                       "taken for settled ones; posthorn forget lets the pipeline begin anew",
                       s->env->pipeline, (long long)position, s->read.name, (long long)last);
    }
    return rc;
}

static int source_load(void *ctx, int64_t epoch, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard), ph_sqlite_i64(epoch)};
    s->epoch = epoch;
    int rc = ph_sqlite_run(&s->book, ph_sql_sqlite_q_checkpoint_claim, params, 3, err);
    if (rc < 0) {
        return rc;
    }
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    rc = ph_sqlite_query(&s->book, ph_sql_sqlite_q_checkpoint_load, params, 2, &stmt, err);
    if (rc <= 0) {
        return rc;
    }
    int64_t position = sqlite3_column_int64(stmt, 1), start = sqlite3_column_int64(stmt, 2);
    if (sqlite3_column_int64(stmt, 3) > epoch) {
        return ph_sqlite_refuse_epoch(s, err);
    }
    rc = check_behind(s, position, err);
    if (rc == 0) {
        *ret = checkpoint_at(s, position, start, epoch);
    }
    if (rc == 0 && sqlite3_column_type(stmt, 4) != SQLITE_NULL) {
        ret->sink_at =
            (struct ph_position){sqlite3_column_int64(stmt, 4), sqlite3_column_int64(stmt, 5)};
        ret->in_sink = ret->sink_at.tick < 0 ? PH_SINK_VOID : PH_SINK_HOLDS;
    }
    return rc < 0 ? rc : 1;
}

static int source_contains(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    int64_t last = 0;
    int rc = ph_sqlite_read_last(s, &last, err);
    return rc < 0 ? rc
                  : ph_str_is(cp->snapshot, s->log_id) && cp->timeline == 0 && cp->at.tick == 1 &&
                        cp->at.position <= last;
}

/* In front of the first event made at that time or later; at the end when there is none. */
static int begin_at_time(struct ph_sqlite_source *s, int64_t time_us, int64_t *ret,
                         struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(time_us / 1000)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&s->read, ph_sql_sqlite_q_begin_time, params, 1, &stmt, err);
    if (rc == 1) {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    return rc;
}

static int source_begin(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                        struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    int64_t position = 0;
    int rc = 0;
    if (start->kind != PH_START_EARLIEST) { /* the end is asked first: what comes later counts */
        rc = ph_sqlite_read_last(s, &position, err);
    }
    if (rc == 0 && start->kind == PH_START_TIME) {
        rc = begin_at_time(s, start->time_us, &position, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret = checkpoint_at(s, position, position, 0);
    return 0;
}

static int source_seek(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    if (!ph_str_is(cp->snapshot, s->log_id)) {
        return ph_fail(err, PH_E_DIVERGED, "checkpoint %lld-%lld is of another log than %s",
                       (long long)cp->at.tick, (long long)cp->at.position, s->read.name);
    }
    ph_sqlite_read_seek(s, cp->at.position);
    return 0;
}

static int source_fetch(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    return ph_sqlite_read_fetch(ctx, batch, err);
}

static int source_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static int64_t source_due_us(void *ctx)
{
    const struct ph_sqlite_source *s = ctx;
    if (s->cursor < s->durable) {
        return 0;
    }
    int64_t soon_us = ph_clock_mono_us() + 1000; /* for what waits for the write lock */
    return s->under_way != PH_SQLITE_NO_WRITE && soon_us < s->due_us ? soon_us : s->due_us;
}

static bool source_at_end(void *ctx)
{
    const struct ph_sqlite_source *s = ctx;
    return s->end_seen && s->cursor >= s->durable;
}

/* --- settling and parking -----------------------------------------------------------------------
 */

/* 1, or 0 when a newer epoch refused it. */
static int save_checkpoint(struct ph_sqlite_source *s, struct ph_error *err)
{
    struct ph_sqlite_param none = ph_sqlite_text(NULL);
    bool holds = s->settle_in_sink;
    const struct ph_sqlite_param params[] = {
        ph_sqlite_text(s->env->pipeline),
        ph_sqlite_i64(s->env->shard),
        ph_sqlite_i64(s->settle_at.tick),
        ph_sqlite_i64(s->settle_at.position),
        ph_sqlite_i64(s->settle_start),
        ph_sqlite_i64(s->settle_epoch),
        ph_sqlite_i64(ph_clock_wall_us() / 1000),
        holds ? ph_sqlite_i64(s->settle_sink_at.tick) : none,
        holds ? ph_sqlite_i64(s->settle_sink_at.position) : none,
    };
    int rc = ph_sqlite_bind(&s->book, s->save, params, sizeof params / sizeof params[0], err);
    if (rc == 0) {
        rc = ph_sqlite_step(&s->book, s->save, err);
    }
    return rc < 0 ? rc : sqlite3_changes(s->book.conn) > 0;
}

/* Tries to store what is under way, waiting for another's lock at most so long: 1, 0 while it is
 * locked. */
static int store(struct ph_sqlite_source *s, int64_t wait_ms, struct ph_error *err)
{
    s->book.busy_ms = wait_ms;
    s->book.busy = false;
    int rc =
        s->under_way == PH_SQLITE_PARK ? ph_sqlite_park_store(s, err) : save_checkpoint(s, err);
    bool late = ph_clock_mono_us() - s->write_us > SETTLE_MAX_US;
    if (rc < 0 && s->book.busy && !late) {
        ph_error_clear(err);
        return 0;
    }
    s->under_way = PH_SQLITE_NO_WRITE;
    return rc == 0 ? ph_sqlite_refuse_epoch(s, err) : rc;
}

static int begin_write(struct ph_sqlite_source *s, enum ph_sqlite_write which, struct ph_error *err)
{
    s->under_way = which;
    s->write_us = ph_clock_mono_us();
    int rc = store(s, 0, err);
    return rc < 0 ? rc : 1;
}

static int source_settle(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    if (s->under_way != PH_SQLITE_NO_WRITE) {
        return 0;
    }
    if (!ph_str_i64(cp->start_snapshot, &s->settle_start)) {
        return ph_fail(err, PH_E_SOFTWARE, "a checkpoint does not say where its pipeline began");
    }
    s->settle_at = cp->at;
    s->settle_epoch = cp->epoch;
    s->settle_in_sink = cp->in_sink == PH_SINK_HOLDS;
    s->settle_sink_at = cp->sink_at;
    return begin_write(s, PH_SQLITE_SETTLE, err);
}

static int source_park(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
                       struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    if (s->under_way != PH_SQLITE_NO_WRITE) {
        return 0;
    }
    int rc = ph_sqlite_park_keep(s, epoch, changes, count, err);
    return rc < 0 ? rc : begin_write(s, PH_SQLITE_PARK, err);
}

static int source_settled(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct ph_sqlite_source *s = ctx;
    return s->under_way != PH_SQLITE_NO_WRITE ? store(s, timeout_ms, err) : 1;
}

extern const struct ph_source_driver ph_source_sqlite;
const struct ph_source_driver ph_source_sqlite = {
    .name = "sqlite",
    .summary = "the outbox table of an SQLite file in WAL mode: sqlite:FILE",
    .options = sqlite_options,
    .config_size = sizeof(struct ph_sqlite_source_config),
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
    .held = ph_sqlite_held,
    .park = source_park,
    .due = ph_sqlite_due,
    .close = source_close,
    .lease_open = ph_sqlite_lease_open,
    .lease_claim = ph_sqlite_lease_claim,
    .lease_renew = ph_sqlite_lease_renew,
    .lease_release = ph_sqlite_lease_release,
    .maintain = ph_sqlite_maintain,
    .lease_close = ph_sqlite_lease_close,
};
