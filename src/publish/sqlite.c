/*
 * Publishing on the caller's sqlite3: one prepared INSERT, stepped once an event.
 * Place: the library's SQLite half; nothing else of it knows SQLite.
 * Promise: all events of a call are in the caller's transaction, or none of them is; no statement
 * is left open, and none is run when no transaction is open.
 */
#include <posthorn/sqlite.h>
#include <sqlite3.h>

#include "publish/event.h"
#include "sql_publish.h"

/* --- errors ------------------------------------------------------------------------------------
 */

static int code_of(int primary)
{
    switch (primary) {
    case SQLITE_ERROR: /* the statement is right for this version's schema only */
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return PH_E_CONFIG;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
        return PH_E_DATA;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return PH_E_SOFTWARE;
    case SQLITE_MISUSE:
        return PH_E_USAGE;
    default: /* busy, locked, interrupted, full, out of memory, input or output */
        return PH_E_UNAVAILABLE;
    }
}

static int fail(sqlite3 *db, struct ph_error *err)
{
    int code = code_of(sqlite3_errcode(db) & 0xff);
    return ph_fail(err, code, "SQLite: %s%s", sqlite3_errmsg(db),
                   code == PH_E_CONFIG ? "; has `posthorn init` been run on this database, and may "
                                         "this program write it?"
                                       : "");
}

/* --- one event ---------------------------------------------------------------------------------
 */

/* The memory stays as it is until the statement is reset. */
static int bind_text(sqlite3_stmt *stmt, int at, struct ph_str text)
{
    return sqlite3_bind_text64(stmt, at, text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static bool bound(sqlite3_stmt *stmt, const struct ph_publish_row *row,
                  const char id[PH_UUID_TEXT_LEN + 1])
{
    return bind_text(stmt, 1, (struct ph_str){id, PH_UUID_TEXT_LEN}) == SQLITE_OK &&
           bind_text(stmt, 2, row->aggregate_type) == SQLITE_OK &&
           bind_text(stmt, 3, row->aggregate_id) == SQLITE_OK &&
           bind_text(stmt, 4, row->event_type) == SQLITE_OK &&
           bind_text(stmt, 5, row->headers_json) == SQLITE_OK &&
           bind_text(stmt, 6, row->payload) == SQLITE_OK &&
           sqlite3_bind_blob64(stmt, 7, row->payload_bytes.ptr, row->payload_bytes.len,
                               SQLITE_STATIC) == SQLITE_OK &&
           bind_text(stmt, 8, row->content_type) == SQLITE_OK;
}

static int insert(sqlite3 *db, sqlite3_stmt *stmt, const struct ph_publish_row *row,
                  struct ph_error *err)
{
    char id[PH_UUID_TEXT_LEN + 1];
    ph_uuid_format(&row->id, id);
    int rc = bound(stmt, row, id) && sqlite3_step(stmt) == SQLITE_DONE ? 0 : fail(db, err);
    (void)sqlite3_reset(stmt); /* repeats the step's failure */
    (void)sqlite3_clear_bindings(stmt);
    return rc;
}

/* --- a batch -----------------------------------------------------------------------------------
 */

static int insert_all(sqlite3 *db, const struct ph_publish_batch *batch, struct ph_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, ph_sql_publish_q_publish_event, -1, &stmt, NULL) != SQLITE_OK) {
        return fail(db, err);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->count; i++) {
        rc = insert(db, stmt, &batch->rows[i], err);
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

static int run(sqlite3 *db, const char *sql, struct ph_error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err);
}

/* Inside the caller's transaction a savepoint begins and commits nothing. */
static int insert_as_one(sqlite3 *db, const struct ph_publish_batch *batch, struct ph_error *err)
{
    int rc = run(db, "SAVEPOINT posthorn_publish", err);
    if (rc < 0) {
        return rc;
    }
    rc = insert_all(db, batch, err);
    if (rc == 0) {
        return run(db, "RELEASE posthorn_publish", err);
    }
    if (!sqlite3_get_autocommit(db)) {
        struct ph_error undone = {0};
        (void)run(db, "ROLLBACK TO posthorn_publish", &undone);
        (void)run(db, "RELEASE posthorn_publish", &undone);
    }
    return rc;
}

/* --- the caller's connection -------------------------------------------------------------------
 */

static int check_handle(sqlite3 *db, struct ph_error *err)
{
    if (!db) {
        return ph_fail(err, PH_E_USAGE, "no connection was given (NULL)");
    }
    if (sqlite3_get_autocommit(db)) {
        return ph_fail(err, PH_E_USAGE,
                       "no transaction is open: BEGIN one, write what the event tells of, publish, "
                       "COMMIT");
    }
    return 0;
}

int posthorn_publish_batch_sqlite(struct sqlite3 *db, const struct posthorn_event *events,
                                  size_t count, char (*ids_out)[POSTHORN_ID_SIZE],
                                  struct posthorn_error *error)
{
    struct ph_publish_batch batch;
    struct ph_error err = {0};
    int rc = ph_publish_check(events, count, &batch, &err);
    if (rc == 0) {
        rc = check_handle(db, &err);
    }
    if (rc == 0 && count > 0) {
        rc = count == 1 ? insert_all(db, &batch, &err) : insert_as_one(db, &batch, &err);
        if (rc < 0 && sqlite3_get_autocommit(db)) {
            (void)ph_fail_prefix(&err, "the transaction was rolled back");
        }
    }
    return ph_publish_end(&batch, ids_out, rc, &err, error);
}

int posthorn_publish_sqlite(struct sqlite3 *db, const struct posthorn_event *event,
                            char id_out[POSTHORN_ID_SIZE], struct posthorn_error *error)
{
    return posthorn_publish_batch_sqlite(db, event, 1, (char(*)[POSTHORN_ID_SIZE])id_out, error);
}
