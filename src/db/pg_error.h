/* What PostgreSQL says of a failure, as an error by value: code by SQLSTATE, text without row
 * values. */
#ifndef PH_DB_PG_ERROR_H
#define PH_DB_PG_ERROR_H

#include <libpq-fe.h>

#include "base/err.h"

/* Sets err from a failed result: code by SQLSTATE, text without row values (no DETAIL). */
int ph_pg_fail_result(const PGresult *res, struct ph_error *err);
/* Sets err from a connection that was lost. */
int ph_pg_fail_lost(const PGconn *conn, struct ph_error *err);
/* enum ph_code for a SQLSTATE. */
int ph_pg_code(const char *sqlstate);

#endif
