/*
 * Opens the database of init, publish, status and verify.
 * Place: between those commands and db/postgres. Promise: a database without Posthorn's schema is
 * named as such before any statement can fail in a stranger way.
 */
#include "cli/database.h"

#include "sql_postgres.h"

int ph_database_connect(struct ph_pg *pg, const char *uri, const char *name, struct ph_error *err)
{
    *pg = (struct ph_pg){0};
    return ph_pg_open(pg, uri, name, NULL, err);
}

int ph_database_has_schema(struct ph_pg *pg, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_migrate_schema, 0, NULL, &res, err);
    if (rc < 0) {
        return rc;
    }
    return PQntuples(res) > 0 ? 1 : 0;
}

int ph_database_open(struct ph_pg *pg, const char *uri, const char *name, struct ph_error *err)
{
    int rc = ph_database_connect(pg, uri, name, err);
    if (rc == 0) {
        int found = ph_database_has_schema(pg, err);
        if (found == 0) {
            rc = ph_fail(err, PH_E_CONFIG,
                         "database \"%s\" has no schema posthorn; install it with posthorn init",
                         PQdb(pg->conn));
        } else if (found < 0) {
            rc = found;
        }
        if (rc < 0) {
            ph_pg_close(pg);
        }
    }
    return rc;
}

int ph_database_read(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                     PGresult **ret, struct ph_error *err)
{
    int rc = ph_pg_script(pg, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off",
                          NULL, err);
    if (rc == 0) {
        rc = ph_pg_query(pg, sql, count, params, ret, err);
    }
    if (rc == 0) {
        rc = ph_pg_script(pg, "COMMIT", NULL, err);
    }
    return rc;
}
