/*
 * Deletes settled events in SQLite. Place: below the source's keeper and the outbox driver.
 * Promise: never an event that some pipeline has not settled; the write lock is held for some
 * milliseconds at a time, and left alone for as long as it was held.
 */
#include "db/sqlite_clear.h"

#include <poll.h>

#include "base/clock.h"
#include "sql_sqlite.h"

#define ROWS_FIRST 250
#define ROWS_MAX   4000
#define HOLD_US    10000 /* aimed at */
#define COUNT_ROWS 10000

/* Up to where may be cleared among the next `rows` events behind `behind`; 0 = nowhere. */
static int bound_of(struct ph_sqlite *db, int64_t retention_ms, int64_t behind, int64_t rows,
                    int64_t *ret, struct ph_error *err)
{
    int64_t now_ms = ph_clock_wall_us() / 1000;
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(behind),
                                             ph_sqlite_i64(now_ms - retention_ms),
                                             ph_sqlite_i64(now_ms), ph_sqlite_i64(rows)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_clear_bound, params, 4, &stmt, err);
    *ret = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    return rc < 0 ? rc : 0;
}

static int64_t next_rows(int64_t rows, int64_t took_us)
{
    rows = took_us < HOLD_US / 2 ? rows * 2 : took_us > HOLD_US ? rows / 2 : rows;
    return rows < 1 ? 1 : rows > ROWS_MAX ? ROWS_MAX : rows;
}

int ph_sqlite_clear(struct ph_sqlite *db, int64_t retention_ms, int64_t budget_ms, int64_t *ret,
                    struct ph_error *err)
{
    int64_t until_us = ph_clock_mono_us() + budget_ms * 1000, rows = ROWS_FIRST;
    *ret = 0;
    for (;;) {
        int64_t bound = 0;
        int rc = bound_of(db, retention_ms, 0, rows, &bound, err);
        if (rc < 0 || bound == 0) {
            return rc;
        }
        const struct ph_sqlite_param params[] = {ph_sqlite_i64(bound)};
        int64_t began_us = ph_clock_mono_us();
        rc = ph_sqlite_run(db, ph_sql_sqlite_q_clear, params, 1, err);
        if (rc < 0) {
            return rc;
        }
        *ret += rc;
        int64_t now_us = ph_clock_mono_us();
        if (now_us >= until_us) {
            return 0;
        }
        (void)poll(NULL, 0, (int)((now_us - began_us) / 1000) + 1); /* the writers' turn */
        rows = next_rows(rows, now_us - began_us);
    }
}

int ph_sqlite_clearable(struct ph_sqlite *db, int64_t retention_ms, int64_t *ret,
                        struct ph_error *err)
{
    int64_t behind = 0, found = 0;
    for (;;) {
        int64_t bound = 0;
        int rc = bound_of(db, retention_ms, behind, COUNT_ROWS, &bound, err);
        if (rc < 0) {
            return rc;
        }
        if (bound == 0) {
            *ret = found;
            return 0;
        }
        const struct ph_sqlite_param params[] = {ph_sqlite_i64(behind), ph_sqlite_i64(bound)};
        PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
        rc = ph_sqlite_query(db, ph_sql_sqlite_q_clear_count, params, 2, &stmt, err);
        if (rc < 0) {
            return rc;
        }
        found += sqlite3_column_int64(stmt, 0);
        behind = bound;
    }
}
