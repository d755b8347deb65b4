/*
 * What leaves PostgreSQL's log: settled buckets, pipelines that are gone, the content of an
 * aggregate.
 * Place: the driver's cleanup, forget, erase, over functions of the schema that judge by
 * themselves. Promise: each is one READ COMMITTED transaction, kept whole or not at all; a dry run
 * is a read-only one.
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define WRITE_BEGIN      "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
#define ERASE_TIMEOUT_MS (4 * 60 * 60 * 1000) /* it reads the whole log */

int ph__pg_outbox_refused(int rc, struct ph_error *err)
{
    if (rc < 0 && (strstr(err->text, "SQLSTATE 55006") || strstr(err->text, "SQLSTATE 55000"))) {
        err->code = PH_E_CONFIG;
        rc = PH_E_CONFIG;
    }
    return rc;
}

int ph__pg_outbox_write(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                        PGresult **ret, struct ph_error *err)
{
    int rc = ph_pg_script(pg, WRITE_BEGIN, NULL, err);
    if (rc == 0) {
        rc = ph_pg_query(pg, sql, count, params, ret, err);
    }
    if (rc == 0) {
        rc = ph_pg_script(pg, "COMMIT", NULL, err);
    }
    return ph__pg_outbox_refused(rc, err);
}

/* --- cleanup -----------------------------------------------------------------------------------
 */

/* The columns of q_cleanup_plan.sql and q_cleanup.sql. */
enum { RING, BUCKET, ACTION, REASON, EVENTS };

struct giving {
    int (*each)(void *arg, const struct ph_outbox_part *part);
    void *arg;
};

/* Row of the plan, with what came of it when done is not NULL. */
static int give_part(const struct giving *giving, const PGresult *plan, const PGresult *done,
                     int row)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s bucket %s", PQgetvalue(plan, row, RING),
                   PQgetvalue(plan, row, BUCKET));
    const PGresult *said = done ? done : plan;
    struct ph_outbox_part part = {
        .name = name,
        .action = PQgetvalue(said, row, ACTION),
        .reason = PQgetvalue(said, row, REASON),
        .events = ph_pg_i64(plan, row, EVENTS),
    };
    return giving->each(giving->arg, &part);
}

static int give_parts(const struct giving *giving, const PGresult *plan, const PGresult *done,
                      struct ph_error *err)
{
    int rows = PQntuples(plan);
    if (done && PQntuples(done) == 1 && !ph_pg_value(done, 0, RING)) {
        return ph_fail(err, PH_E_UNAVAILABLE,
                       "another posthorn clears this log at the moment; nothing was done");
    }
    if (done && PQntuples(done) != rows) {
        return ph_fail(err, PH_E_SOFTWARE, "the log told of another number of buckets");
    }
    int rc = 0;
    for (int row = 0; rc == 0 && row < rows; row++) {
        rc = give_part(giving, plan, done, row);
    }
    return rc;
}

int ph__pg_outbox_cleanup(void *ctx, int64_t retention_ms, bool dry_run,
                          int (*each)(void *arg, const struct ph_outbox_part *part), void *arg,
                          struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const struct giving giving = {each, arg};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *plan = NULL;
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *done = NULL;
    char ms[24];
    (void)snprintf(ms, sizeof ms, "%lld", (long long)retention_ms);
    const char *params[] = {retention_ms < 0 ? NULL : ms};
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_cleanup_plan, 1, params, &plan, err);
    if (rc == 0 && !dry_run) {
        rc = ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_cleanup, 1, params, &done, err);
    }
    return rc < 0 ? rc : give_parts(&giving, plan, done, err);
}

/* --- forget and erase --------------------------------------------------------------------------
 */

int ph__pg_outbox_forget(void *ctx, const char *pipeline, bool discard_parked,
                         const struct ph_outbox_act *act, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const char *params[] = {pipeline, act->who, act->reason, discard_parked ? "true" : "false"};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_forget, 4, params, &res, err);
    return rc < 0 ? rc : *PQgetvalue(res, 0, 0) == 't';
}

int ph__pg_outbox_erase(void *ctx, const char *aggregate_type, const char *aggregate_id,
                        const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const char *params[] = {aggregate_type, aggregate_id, act->who, act->reason};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    o->pg.timeout_ms = ERASE_TIMEOUT_MS;
    int rc = ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_erase, 4, params, &res, err);
    o->pg.timeout_ms = PH_PG_TIMEOUT_MS;
    if (rc == 0) {
        *ret = ph_pg_i64(res, 0, 0);
    }
    return rc;
}
