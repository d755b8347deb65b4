/*
 * How far each pipeline is, who owns it and what went wrong last.
 * Place: the driver's status, over sql/postgres/q_status.sql.
 * Promise: reads only, and stays cheap however many settled events the log holds.
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

/* The columns of q_status.sql. */
enum {
    NAME,
    SHARD,
    TICK,
    POSITION,
    LAG_EVENTS,
    LAG_ESTIMATED,
    LAG_SECONDS,
    OWNER,
    EPOCH,
    OWNED,
    EXPIRES_AT,
    LAST_ERROR,
    LAST_ERROR_AT,
    UPDATED_AT,
    STILL_SECONDS,
    PARKED,
    DEAD,
    SCHEDULED,
    PAUSED_AT,
    PAUSED_BY,
    PAUSED_REASON,
};

static bool is_true(const PGresult *res, int row, int column)
{
    const char *value = ph_pg_value(res, row, column);
    return value && *value == 't';
}

static struct ph_outbox_status status_of(const PGresult *res, int row)
{
    bool begun = ph_pg_value(res, row, TICK) != NULL;
    return (struct ph_outbox_status){
        .pipeline = ph_pg_value(res, row, NAME),
        .shard = ph_pg_value(res, row, SHARD),
        .tick = ph_pg_value(res, row, TICK),
        .position = ph_pg_value(res, row, POSITION),
        .lag_events = begun ? ph_pg_value(res, row, LAG_EVENTS) : NULL,
        .lag_seconds = begun ? ph_pg_value(res, row, LAG_SECONDS) : NULL,
        .lag_estimated = is_true(res, row, LAG_ESTIMATED),
        .owner = ph_pg_value(res, row, OWNER),
        .epoch = ph_pg_value(res, row, EPOCH),
        .expires_at = ph_pg_value(res, row, EXPIRES_AT),
        .owned = is_true(res, row, OWNED),
        .last_error = ph_pg_value(res, row, LAST_ERROR),
        .last_error_at = ph_pg_value(res, row, LAST_ERROR_AT),
        .updated_at = ph_pg_value(res, row, UPDATED_AT),
        .still_seconds = ph_pg_value(res, row, STILL_SECONDS),
        .parked = ph_pg_value(res, row, PARKED),
        .dead = ph_pg_value(res, row, DEAD),
        .scheduled = ph_pg_value(res, row, SCHEDULED),
        .paused_at = ph_pg_value(res, row, PAUSED_AT),
        .paused_by = ph_pg_value(res, row, PAUSED_BY),
        .paused_reason = ph_pg_value(res, row, PAUSED_REASON),
    };
}

int ph__pg_outbox_status(void *ctx, const char *pipeline,
                         int (*each)(void *arg, const struct ph_outbox_status *status), void *arg,
                         struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const char *params[] = {pipeline};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_status, 1, params, &res, err);
    for (int row = 0; rc == 0 && row < PQntuples(res); row++) {
        struct ph_outbox_status status = status_of(res, row);
        rc = each(arg, &status);
    }
    return rc;
}
