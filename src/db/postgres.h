/*
 * A PostgreSQL connection for one thread: connect, statements with parameters, scripts, COPY out;
 * every wait has a time limit and ends when stop is wanted; every failure is classed.
 *
 * Works behind PgBouncer in transaction mode: no named statements, no session SET.
 * The connection string goes to libpq as it is (URI or conninfo; PG* variables, .pgpass, service
 * files).
 */
#ifndef PH_DB_POSTGRES_H
#define PH_DB_POSTGRES_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/thread.h"
#include "db/pg_error.h"

struct ph_pg {
    PGconn *conn;
    int64_t timeout_ms;       /* of every wait for an answer */
    struct ph_stop *stop;     /* may be NULL */
    int64_t stop_deadline_us; /* internal: set when stop was first seen wanted */
};

#define PH_PG_CONNECT_TIMEOUT_MS 10000
#define PH_PG_TIMEOUT_MS         30000

/* Connects (waits at most PH_PG_CONNECT_TIMEOUT_MS). PH_E_UNAVAILABLE, or PH_E_CONFIG for a
 * connection string, user or database that cannot work. application_name is "posthorn NAME". pg is
 * valid after success only. */
int ph_pg_open(struct ph_pg *pg, const char *conninfo, const char *name, struct ph_stop *stop,
               struct ph_error *err) PH_MUST_CHECK;
/* Closes it; accepts a zeroed one. */
void ph_pg_close(struct ph_pg *pg);

/* One statement with text parameters (NULL = SQL NULL) and a text result; the caller clears *ret
 * (may be NULL to drop it). */
int ph_pg_query(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                PGresult **ret, struct ph_error *err) PH_MUST_CHECK;
/* Several statements separated by ';' in one round trip, without parameters; *ret (may be NULL) is
 * the last result that has rows. A failure inside a transaction is rolled back before returning. */
int ph_pg_script(struct ph_pg *pg, const char *sql, PGresult **ret,
                 struct ph_error *err) PH_MUST_CHECK;

/* The same without waiting: send, then ask ph_pg_ready until it is 1, then take results. */
int ph_pg_send(struct ph_pg *pg, const char *sql, int count, const char *const *params,
               struct ph_error *err) PH_MUST_CHECK;
int ph_pg_send_script(struct ph_pg *pg, const char *sql, struct ph_error *err) PH_MUST_CHECK;
/* Reads what has arrived. 1 = the next PQgetResult would not block, 0 = not yet. */
int ph_pg_ready(struct ph_pg *pg, struct ph_error *err) PH_MUST_CHECK;
/* Waits for ph_pg_ready at most timeout_ms (or the connection's limit when smaller): 1, 0 at the
 * time limit. */
int ph_pg_wait(struct ph_pg *pg, int64_t timeout_ms, struct ph_error *err) PH_MUST_CHECK;
/* Waits at most timeout_ms for bytes to arrive; 0 or an error of the connection. */
int ph_pg_wait_input(struct ph_pg *pg, int64_t timeout_ms, struct ph_error *err) PH_MUST_CHECK;
/* Throws away the rest of a COPY OUT that was cancelled, and all results behind it, errors
 * included. */
int ph_pg_drop_copy(struct ph_pg *pg, struct ph_error *err) PH_MUST_CHECK;
/* Drops whatever results are left, waiting for them; the connection is idle after success. */
int ph_pg_finish(struct ph_pg *pg, struct ph_error *err) PH_MUST_CHECK;

/* Sets err from the connection; db/pg_error.h does it from a failed result. */
int ph_pg_fail_conn(struct ph_pg *pg, struct ph_error *err);

/* The conninfo without its password, for messages; the caller frees it with ph_mem_free. NULL when
 * out of memory. */
char *ph_pg_redact(const char *conninfo);
/* Whether the text itself carries a password. */
bool ph_pg_has_password(const char *conninfo);

/* A field of a text result; NULL for SQL NULL. */
static inline const char *ph_pg_value(const PGresult *res, int row, int column)
{
    return PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
}
/* A field as a number; 0 for NULL. */
int64_t ph_pg_i64(const PGresult *res, int row, int column);

PH_DEFINE_CLEANUP(pg_result, PGresult *, PQclear);

#endif
