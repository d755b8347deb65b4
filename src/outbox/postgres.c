/*
 * PostgreSQL as people's commands see it: the connection and the list of what the driver can do.
 * Place: below the commands, above db/postgres; the queries are sql/postgres/q_*.sql.
 * Promise: a database without Posthorn's schema is named as such before any statement can fail in a
 * stranger way; nothing is held between two calls but what begin began.
 */
#include "outbox/postgres.h"

#include "sql_postgres.h"

int ph__pg_outbox_has_schema(struct ph_pg *pg, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_migrate_schema, 0, NULL, &res, err);
    if (rc < 0) {
        return rc;
    }
    return PQntuples(res) > 0 ? 1 : 0;
}

int ph__pg_outbox_read(struct ph_pg *pg, const char *sql, int count, const char *const *params,
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

static void outbox_close(void *ctx)
{
    struct ph_pg_outbox *o = ctx;
    if (o) {
        PQclear(o->checkpoint);
        ph_mem_free(o->pipeline);
        ph_pg_close(&o->pg);
        ph_mem_free(o);
    }
}

static int need_schema(struct ph_pg *pg, struct ph_error *err)
{
    int found = ph__pg_outbox_has_schema(pg, err);
    if (found == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "database \"%s\" has no schema posthorn; install it with posthorn init",
                       PQdb(pg->conn));
    }
    return found < 0 ? found : 0;
}

static int outbox_open(const char *uri, const char *what, void **ret_ctx, struct ph_error *err)
{
    struct ph_pg_outbox *o = ph_mem_zero(1, sizeof *o);
    if (!o) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    int rc = ph_pg_open(&o->pg, uri, what, NULL, err);
    if (rc < 0) {
        ph_mem_free(o); /* its connection is valid after success only */
        return rc;
    }
    rc = need_schema(&o->pg, err);
    if (rc < 0) {
        outbox_close(o);
        return rc;
    }
    *ret_ctx = o;
    return 0;
}

extern const struct ph_outbox_driver ph_outbox_postgres;
const struct ph_outbox_driver ph_outbox_postgres = {
    .name = "postgresql",
    .init = ph__pg_outbox_init,
    .open = outbox_open,
    .close = outbox_close,
    .begin = ph__pg_outbox_begin,
    .insert = ph__pg_outbox_insert,
    .commit = ph__pg_outbox_commit,
    .status = ph__pg_outbox_status,
    .verify_begin = ph__pg_outbox_verify_begin,
    .verify_page = ph__pg_outbox_verify_page,
    .verify_oldest = ph__pg_outbox_verify_oldest,
    .verify_lookup = ph__pg_outbox_verify_lookup,
};
