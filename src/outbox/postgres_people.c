/*
 * What people do with events beside PostgreSQL's log, and with pipelines.
 * Place: the driver's parked_list, redrive, discard, pause and reshard, over functions of the
 * schema that lock, judge and audit by themselves. Promise: each act is one READ COMMITTED
 * transaction, kept whole or not at all; a listing and a dry run change nothing.
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define RESHARD_TIMEOUT_MS (10 * 60 * 1000) /* it may copy 100,000 events */

/* The parameters of q_parked, q_redrive and q_discard; the first six are the filter's. */
struct words {
    const char *params[10];
    char since[24], number[32];
};

static void put_filter(struct words *words, const struct ph_outbox_filter *filter)
{
    (void)snprintf(words->since, sizeof words->since, "%lld", (long long)filter->since_us);
    words->params[0] = filter->pipeline;
    words->params[1] = filter->event_type;
    words->params[2] = filter->key;
    words->params[3] = filter->since_us ? words->since : NULL;
    words->params[4] = filter->error_like;
    words->params[5] = filter->event_id;
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

static struct ph_outbox_parked parked_of(const PGresult *res, int row)
{
    return (struct ph_outbox_parked){
        .pipeline = ph_pg_value(res, row, PIPELINE),
        .shard = ph_pg_value(res, row, SHARD),
        .state = ph_pg_value(res, row, STATE),
        .attempts = ph_pg_value(res, row, ATTEMPTS),
        .passed = *PQgetvalue(res, row, PASSED) == 't',
        .waiting = ph_pg_value(res, row, WAITING),
        .event_id = ph_pg_value(res, row, EVENT_ID),
        .tick = ph_pg_value(res, row, TICK),
        .position = ph_pg_value(res, row, POSITION),
        .aggregate_type = ph_pg_value(res, row, AGGREGATE_TYPE),
        .aggregate_id = ph_pg_value(res, row, AGGREGATE_ID),
        .event_type = ph_pg_value(res, row, EVENT_TYPE),
        .created_at = ph_pg_value(res, row, CREATED_AT),
        .key = ph_pg_value(res, row, KEY),
        .next_attempt_at = ph_pg_value(res, row, NEXT_ATTEMPT_AT),
        .first_failed_at = ph_pg_value(res, row, FIRST_FAILED_AT),
        .redriven_at = ph_pg_value(res, row, REDRIVEN_AT),
        .deliver_after = ph_pg_value(res, row, DELIVER_AFTER),
        .last_error = ph_pg_value(res, row, LAST_ERROR),
        .headers = ph_str_from(ph_pg_value(res, row, HEADERS)),
        .payload = ph_str_from(ph_pg_value(res, row, PAYLOAD)),
        .payload_json = ph_pg_value(res, row, PAYLOAD) != NULL,
        .content_type = ph_pg_value(res, row, CONTENT_TYPE),
    };
}

PH_DEFINE_CLEANUP(pg_bytes, unsigned char *, PQfreemem);

static int give_row(const PGresult *res, int row,
                    int (*each)(void *arg, const struct ph_outbox_parked *row), void *arg,
                    struct ph_error *err)
{
    struct ph_outbox_parked parked = parked_of(res, row);
    PH_CLEANUP(ph_cleanup_pg_bytes) unsigned char *bytes = NULL;
    if (!PQgetisnull(res, row, PAYLOAD_BYTES)) {
        size_t len = 0;
        bytes = PQunescapeBytea((const unsigned char *)PQgetvalue(res, row, PAYLOAD_BYTES), &len);
        if (!bytes) {
            return ph_fail(err, PH_E_NOMEM, "no memory for a payload");
        }
        parked.payload = (struct ph_str){(const char *)bytes, len};
    }
    return each(arg, &parked);
}

int ph__pg_outbox_parked_list(void *ctx, const struct ph_outbox_filter *filter,
                              int (*each)(void *arg, const struct ph_outbox_parked *row), void *arg,
                              struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    struct words words;
    put_filter(&words, filter);
    (void)snprintf(words.number, sizeof words.number, "%lld", (long long)filter->limit);
    words.params[6] = filter->state;
    words.params[7] = filter->limit > 0 ? words.number : NULL;
    words.params[8] = filter->content ? "true" : "false";
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_parked, 9, words.params, &res, err);
    for (int row = 0; rc == 0 && row < PQntuples(res); row++) {
        rc = give_row(res, row, each, arg, err);
    }
    return rc;
}

/* --- redrive and discard -----------------------------------------------------------------------
 */

static int act_on_rows(struct ph_pg_outbox *o, const char *sql, struct words *words, int count,
                       const struct ph_outbox_filter *filter, bool dry_run,
                       const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    put_filter(words, filter);
    words->params[6] = act->who;
    words->params[7] = act->reason;
    words->params[8] = dry_run ? "true" : "false";
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = dry_run ? ph__pg_outbox_read(&o->pg, sql, count, words->params, &res, err)
                     : ph__pg_outbox_write(&o->pg, sql, count, words->params, &res, err);
    if (rc == 0) {
        *ret = ph_pg_i64(res, 0, 0);
    }
    return rc;
}

int ph__pg_outbox_redrive(void *ctx, const struct ph_outbox_filter *filter, double rate,
                          bool dry_run, const struct ph_outbox_act *act, int64_t *ret,
                          struct ph_error *err)
{
    struct words words;
    (void)snprintf(words.number, sizeof words.number, "%.6f", rate);
    words.params[9] = rate > 0 ? words.number : NULL;
    return act_on_rows(ctx, ph_sql_postgres_q_redrive, &words, 10, filter, dry_run, act, ret, err);
}

int ph__pg_outbox_discard(void *ctx, const struct ph_outbox_filter *filter, bool dry_run,
                          const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    struct words words;
    return act_on_rows(ctx, ph_sql_postgres_q_discard, &words, 9, filter, dry_run, act, ret, err);
}

/* --- pause and reshard -------------------------------------------------------------------------
 */

int ph__pg_outbox_pause(void *ctx, const char *pipeline, bool paused,
                        const struct ph_outbox_act *act, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const char *params[] = {pipeline, act->who, act->reason};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_write(
        &o->pg, paused ? ph_sql_postgres_q_pause : ph_sql_postgres_q_resume, 3, params, &res, err);
    return rc < 0 ? rc : *PQgetvalue(res, 0, 0) == 't';
}

int ph__pg_outbox_reshard(void *ctx, const char *pipeline, int shards,
                          const struct ph_outbox_act *act, struct ph_outbox_resharded *ret,
                          struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    char number[16];
    (void)snprintf(number, sizeof number, "%d", shards);
    const char *params[] = {pipeline, number, act->who, act->reason};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    o->pg.timeout_ms = RESHARD_TIMEOUT_MS;
    int rc = ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_reshard, 4, params, &res, err);
    o->pg.timeout_ms = PH_PG_TIMEOUT_MS;
    if (rc == 0) {
        *ret = (struct ph_outbox_resharded){.shards_before = ph_pg_i64(res, 0, 0),
                                            .shards = shards,
                                            .parked = ph_pg_i64(res, 0, 1)};
    }
    return rc;
}

int ph__pg_outbox_note(void *ctx, const char *what, const struct ph_outbox_act *act,
                       struct ph_buf *detail, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    int rc = ph_buf_check(detail, "an audit row", err);
    if (rc < 0) {
        return rc;
    }
    const char *params[] = {act->who, what, act->reason, ph_buf_text(detail)};
    return ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_audit, 4, params, NULL, err);
}
