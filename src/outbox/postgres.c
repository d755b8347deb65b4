/*
 * PostgreSQL as people's commands see it: the connection and the list of what the driver can do.
 * Place: below the commands, above db/postgres; the queries are sql/postgres/q_*.sql.
 * Promise: a database without Posthorn's schema, or with another version of it, is named as such
 * before any statement can fail in a stranger way; nothing is held between two calls but what begin
 * began.
 */
#include "outbox/postgres.h"

#include "db/pg_schema.h"
#include "sql_postgres.h"

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

static int check_version(struct ph_pg *pg, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_migrate_version, 0, NULL, &res, err);
    int64_t version = rc == 0 && PQntuples(res) == 1 ? ph_pg_i64(res, 0, 0) : 0;
    if (rc < 0 || version == PH_PG_SCHEMA_VERSION) {
        return rc;
    }
    return ph_fail(
        err, PH_E_CONFIG, "the schema posthorn has version %lld, this program needs version %d: %s",
        (long long)version, PH_PG_SCHEMA_VERSION,
        version < PH_PG_SCHEMA_VERSION ? "migrate it with posthorn init" : "use a newer posthorn");
}

static int check_schema(struct ph_pg *pg, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_schema, 0, NULL, &res, err);
    if (rc < 0) {
        return rc;
    }
    if (PQntuples(res) == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "database \"%s\" has no schema posthorn; install it with posthorn init",
                       PQdb(pg->conn));
    }
    return *PQgetvalue(res, 0, 0) == 't' ? check_version(pg, err) : 0;
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
    rc = check_schema(&o->pg, err);
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
    .cleanup = ph__pg_outbox_cleanup,
    .forget = ph__pg_outbox_forget,
    .erase = ph__pg_outbox_erase,
    .parked_list = ph__pg_outbox_parked_list,
    .redrive = ph__pg_outbox_redrive,
    .discard = ph__pg_outbox_discard,
    .pause = ph__pg_outbox_pause,
    .note = ph__pg_outbox_note,
    .reshard = ph__pg_outbox_reshard,
    .adopt = ph__pg_outbox_adopt,
};
