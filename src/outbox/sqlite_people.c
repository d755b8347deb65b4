/*
 * What people do with events beside SQLite's log, and with pipelines.
 * Place: the driver's parked_list, redrive, discard and pause. Promise: each act is one transaction
 * with its line in the audit, on disk when it is told as done; a listing and a dry run change
 * nothing.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

#define DETAIL_MAX   65536
#define FILTER_COUNT 6

/* The first parameters of q_parked, q_redrive and q_discard. */
static void put_filter(const struct ph_outbox_filter *filter,
                       struct ph_sqlite_param out[FILTER_COUNT])
{
    int64_t since_ms = filter->since_us / 1000 + (filter->since_us % 1000 > 0);
    out[0] = ph_sqlite_text(filter->pipeline);
    out[1] = ph_sqlite_text(filter->event_type);
    out[2] = ph_sqlite_text(filter->key);
    out[3] = ph_sqlite_i64(filter->since_us ? since_ms : INT64_MIN);
    out[4] = ph_sqlite_text(filter->error_like);
    out[5] = ph_sqlite_text(filter->event_id);
}

/* --- the rows ----------------------------------------------------------------------------------
 */

/* The columns of q_parked.sql. */
enum {
    PIPELINE,
    SHARD,
    STATE,
    ATTEMPTS,
    PASSED,
    WAITING,
    EVENT_ID,
    TICK,
    POSITION,
    AGGREGATE_TYPE,
    AGGREGATE_ID,
    EVENT_TYPE,
    CREATED_AT,
    KEY,
    NEXT_ATTEMPT_AT,
    FIRST_FAILED_AT,
    REDRIVEN_AT,
    DELIVER_AFTER,
    LAST_ERROR,
    HEADERS,
    PAYLOAD,
    PAYLOAD_BYTES,
    CONTENT_TYPE,
};

static const char *text(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

static struct ph_outbox_parked parked_of(sqlite3_stmt *stmt)
{
    struct ph_str json = ph_sqlite_column(stmt, PAYLOAD);
    return (struct ph_outbox_parked){
        .pipeline = text(stmt, PIPELINE),
        .shard = text(stmt, SHARD),
        .state = text(stmt, STATE),
        .attempts = text(stmt, ATTEMPTS),
        .passed = sqlite3_column_int(stmt, PASSED) != 0,
        .waiting = text(stmt, WAITING),
        .event_id = text(stmt, EVENT_ID),
        .tick = text(stmt, TICK),
        .position = text(stmt, POSITION),
        .aggregate_type = text(stmt, AGGREGATE_TYPE),
        .aggregate_id = text(stmt, AGGREGATE_ID),
        .event_type = text(stmt, EVENT_TYPE),
        .created_at = text(stmt, CREATED_AT),
        .key = text(stmt, KEY),
        .next_attempt_at = text(stmt, NEXT_ATTEMPT_AT),
        .first_failed_at = text(stmt, FIRST_FAILED_AT),
        .redriven_at = text(stmt, REDRIVEN_AT),
        .deliver_after = text(stmt, DELIVER_AFTER),
        .last_error = text(stmt, LAST_ERROR),
        .headers = ph_sqlite_column(stmt, HEADERS),
        .payload = json.ptr ? json : ph_sqlite_column(stmt, PAYLOAD_BYTES),
        .payload_json = json.ptr && ph_json_check(json, NULL) == 0,
        .content_type = text(stmt, CONTENT_TYPE),
    };
}

int ph__sqlite_outbox_parked_list(void *ctx, const struct ph_outbox_filter *filter,
                                  int (*each)(void *arg, const struct ph_outbox_parked *row),
                                  void *arg, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    struct ph_sqlite_param params[FILTER_COUNT + 3];
    put_filter(filter, params);
    params[FILTER_COUNT] = ph_sqlite_text(filter->state);
    params[FILTER_COUNT + 1] = ph_sqlite_i64(filter->limit > 0 ? filter->limit : -1);
    params[FILTER_COUNT + 2] = ph_sqlite_i64(filter->content);
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&o->db, ph_sql_sqlite_q_parked, params, FILTER_COUNT + 3, &stmt, err);
    while (rc == 1) {
        struct ph_outbox_parked row = parked_of(stmt);
        rc = each(arg, &row);
        if (rc == 0) {
            rc = ph_sqlite_step(&o->db, stmt, err);
        }
    }
    return rc;
}

/* --- acts --------------------------------------------------------------------------------------
 */

static int begin(struct ph_sqlite *db, struct ph_error *err)
{
    return ph_sqlite_script(db, "PRAGMA synchronous = full; BEGIN IMMEDIATE", err);
}

/* PH_E_CONFIG for a pipeline that never ran here. NULL: any. */
static int check_known(struct ph_sqlite *db, const char *pipeline, struct ph_error *err)
{
    if (!pipeline) {
        return 0;
    }
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_pipeline_paused, params, 1, &stmt, err);
    if (rc == 0) {
        return ph_fail(err, PH_E_CONFIG, "%s knows no pipeline \"%s\"", db->name, pipeline);
    }
    return rc < 0 ? rc : 0;
}

static void put_member(struct ph_buf *out, const char *name, const char *value)
{
    if (value) {
        ph_json_put_member(out, name, ph_str_from(value));
    }
}

static int audit_rows(struct ph_sqlite *db, const char *what, const struct ph_outbox_filter *filter,
                      double rate, int64_t events, const struct ph_outbox_act *act,
                      struct ph_error *err)
{
    struct ph_buf detail;
    ph_buf_init(&detail, DETAIL_MAX);
    ph_buf_putc(&detail, '{');
    put_member(&detail, "pipeline", filter->pipeline);
    put_member(&detail, "eventType", filter->event_type);
    put_member(&detail, "key", filter->key);
    put_member(&detail, "errorLike", filter->error_like);
    put_member(&detail, "eventId", filter->event_id);
    if (filter->since_us) {
        ph_json_put_member_i64(&detail, "sinceMs", filter->since_us / 1000);
    }
    if (rate > 0) {
        char number[32];
        (void)snprintf(number, sizeof number, "%.6f", rate);
        put_member(&detail, "rate", number);
    }
    ph_json_put_member_i64(&detail, "events", events);
    ph_buf_putc(&detail, '}');
    int rc = ph__sqlite_outbox_audit(db, what, act, &detail, err);
    ph_buf_free(&detail);
    return rc;
}

/* What behind a change of rows puts the queues in order and tells the relays. */
static int follow_up(struct ph_sqlite *db, const char *pipeline, int64_t now_ms,
                     struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline), ph_sqlite_i64(now_ms)};
    int rc = ph_sqlite_run(db, ph_sql_sqlite_q_mend, params, 2, err);
    return rc < 0 ? rc : ph_sqlite_run(db, ph_sql_sqlite_q_acts, params, 1, err);
}

struct rows_act {
    const char *what, *sql;
    size_t param_count;
    double rate;
    bool dry_run;
};

/* Above 0 when rows were changed and are to stay so. */
static int change_rows(struct ph_sqlite *db, const struct rows_act *how,
                       const struct ph_outbox_filter *filter, const struct ph_outbox_act *act,
                       int64_t *ret, struct ph_error *err)
{
    int64_t now_ms = ph_clock_wall_us() / 1000;
    struct ph_sqlite_param params[FILTER_COUNT + 2];
    put_filter(filter, params);
    params[FILTER_COUNT] = ph_sqlite_i64(now_ms);
    params[FILTER_COUNT + 1] = ph_sqlite_i64(how->rate > 0 ? (int64_t)(1000000 / how->rate) : 0);
    int rc = check_known(db, filter->pipeline, err);
    int events = rc < 0 ? rc : ph_sqlite_run(db, how->sql, params, how->param_count, err);
    if (events < 0) {
        return events;
    }
    *ret = events;
    if (events == 0 || how->dry_run) {
        return 0;
    }
    rc = follow_up(db, filter->pipeline, now_ms, err);
    if (rc >= 0) {
        rc = audit_rows(db, how->what, filter, how->rate, events, act, err);
    }
    return rc < 0 ? rc : 1;
}

/* A dry run is the act itself, taken back. */
static int act_on_rows(struct ph_sqlite_outbox *o, const struct rows_act *how,
                       const struct ph_outbox_filter *filter, const struct ph_outbox_act *act,
                       int64_t *ret, struct ph_error *err)
{
    int rc = begin(&o->db, err);
    if (rc == 0) {
        rc = change_rows(&o->db, how, filter, act, ret, err);
        rc = ph__sqlite_outbox_end(&o->db, rc, err);
    }
    return rc < 0 ? rc : 0;
}

int ph__sqlite_outbox_redrive(void *ctx, const struct ph_outbox_filter *filter, double rate,
                              bool dry_run, const struct ph_outbox_act *act, int64_t *ret,
                              struct ph_error *err)
{
    const struct rows_act how = {"redrive", ph_sql_sqlite_q_redrive, FILTER_COUNT + 2, rate,
                                 dry_run};
    return act_on_rows(ctx, &how, filter, act, ret, err);
}

int ph__sqlite_outbox_discard(void *ctx, const struct ph_outbox_filter *filter, bool dry_run,
                              const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    const struct rows_act how = {"discard", ph_sql_sqlite_q_discard, FILTER_COUNT, 0, dry_run};
    return act_on_rows(ctx, &how, filter, act, ret, err);
}

/* 1 when it changed. */
static int set_pause(struct ph_sqlite *db, const char *pipeline, bool paused,
                     const struct ph_outbox_act *act, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline),
                                             ph_sqlite_i64(ph_clock_wall_us() / 1000),
                                             ph_sqlite_text(act->who), ph_sqlite_text(act->reason)};
    int rc = check_known(db, pipeline, err);
    if (rc == 0) {
        rc = ph_sqlite_run(db, paused ? ph_sql_sqlite_q_pause : ph_sql_sqlite_q_resume, params,
                           paused ? 4 : 1, err);
    }
    if (rc <= 0) {
        return rc;
    }
    struct ph_buf detail;
    ph_buf_init(&detail, DETAIL_MAX);
    ph_buf_putc(&detail, '{');
    put_member(&detail, "pipeline", pipeline);
    ph_buf_putc(&detail, '}');
    rc = ph__sqlite_outbox_audit(db, paused ? "pause" : "resume", act, &detail, err);
    ph_buf_free(&detail);
    return rc < 0 ? rc : 1;
}

int ph__sqlite_outbox_pause(void *ctx, const char *pipeline, bool paused,
                            const struct ph_outbox_act *act, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int rc = begin(&o->db, err);
    if (rc == 0) {
        rc = set_pause(&o->db, pipeline, paused, act, err);
        rc = ph__sqlite_outbox_end(&o->db, rc, err);
    }
    return rc;
}

int ph__sqlite_outbox_note(void *ctx, const char *what, const struct ph_outbox_act *act,
                           struct ph_buf *detail, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int rc = begin(&o->db, err);
    if (rc == 0) {
        rc = ph__sqlite_outbox_audit(&o->db, what, act, detail, err);
        rc = ph__sqlite_outbox_end(&o->db, rc, err);
    }
    return rc;
}
