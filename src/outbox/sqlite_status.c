/*
 * How far each pipeline is, who owns it and what went wrong last.
 * Place: the driver's status, over sql/sqlite/q_status.sql.
 * Promise: reads only, and stays cheap however many settled events the log holds.
 */
#include "base/clock.h"
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

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

static const char *text(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

static struct ph_outbox_status status_of(sqlite3_stmt *stmt)
{
    bool begun = sqlite3_column_type(stmt, TICK) != SQLITE_NULL;
    return (struct ph_outbox_status){
        .pipeline = text(stmt, NAME),
        .shard = text(stmt, SHARD),
        .tick = text(stmt, TICK),
        .position = text(stmt, POSITION),
        .lag_events = begun ? text(stmt, LAG_EVENTS) : NULL,
        .lag_seconds = begun ? text(stmt, LAG_SECONDS) : NULL,
        .lag_estimated = sqlite3_column_int(stmt, LAG_ESTIMATED) != 0,
        .owner = text(stmt, OWNER),
        .epoch = text(stmt, EPOCH),
        .owned = sqlite3_column_int(stmt, OWNED) != 0,
        .expires_at = text(stmt, EXPIRES_AT),
        .last_error = text(stmt, LAST_ERROR),
        .last_error_at = text(stmt, LAST_ERROR_AT),
        .updated_at = text(stmt, UPDATED_AT),
        .still_seconds = text(stmt, STILL_SECONDS),
        .parked = text(stmt, PARKED),
        .dead = text(stmt, DEAD),
        .scheduled = text(stmt, SCHEDULED),
        .paused_at = text(stmt, PAUSED_AT),
        .paused_by = text(stmt, PAUSED_BY),
        .paused_reason = text(stmt, PAUSED_REASON),
    };
}

int ph__sqlite_outbox_status(void *ctx, const char *pipeline,
                             int (*each)(void *arg, const struct ph_outbox_status *status),
                             void *arg, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    char boot_id[PH_SQLITE_BOOT_ID_SIZE];
    ph_sqlite_boot_id(boot_id);
    const struct ph_sqlite_param params[] = {
        ph_sqlite_text(pipeline),
        ph_sqlite_i64(ph_clock_wall_us() / 1000),
        ph_sqlite_i64(ph_clock_mono_us()),
        ph_sqlite_text(boot_id),
    };
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&o->db, ph_sql_sqlite_q_status, params, 4, &stmt, err);
    while (rc == 1) {
        struct ph_outbox_status status = status_of(stmt);
        rc = each(arg, &status);
        if (rc == 0) {
            rc = ph_sqlite_step(&o->db, stmt, err);
        }
    }
    return rc;
}
