/*
 * The lease row of a PostgreSQL pipeline, on a connection of the keeper's own, and the clearing of
 * settled buckets. Promise: the server's clock alone judges expiry; the epoch only grows. A
 * connection that fails is dropped and made anew at the next call, so the keeper just calls again.
 */
#include <assert.h>
#include <stdio.h>

#include "base/failpoint.h"
#include "db/pg_bind.h"
#include "source/postgres.h"
#include "sql_postgres.h"

#define TIMEOUT_MS 10000

struct lease {
    const struct ph_source_env *env;
    int64_t retention_ms;
    struct ph_pg pg;
    char shard[16], shards[16];
};

static int connected(struct lease *l, struct ph_error *err)
{
    if (l->pg.conn) {
        return 0;
    }
    int rc = ph_pg_open(&l->pg, l->env->uri, l->env->pipeline, l->env->stop, err);
    if (rc == 0) {
        l->pg.timeout_ms = TIMEOUT_MS;
    }
    return rc;
}

/* One statement whose single answer row matters: 1 and the row (ret may be NULL), 0 for no row, or
 * an error (then reconnect). */
static int ask(struct lease *l, const char *sql, int count, const char *const *params,
               PGresult **ret, struct ph_error *err)
{
    int rc = connected(l, err);
    if (rc < 0) {
        return rc;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    rc = ph_pg_query(&l->pg, sql, count, params, &res, err);
    if (rc < 0) {
        ph_pg_close(&l->pg);
        return rc;
    }
    if (!res || PQntuples(res) == 0) {
        return 0;
    }
    if (ret) {
        *ret = res;
        res = NULL;
    }
    return 1;
}

int ph_pg_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err)
{
    const struct ph_pg_source_config *c = config;
    struct lease *l = ph_mem_zero(1, sizeof *l);
    if (!l) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a lease");
    }
    l->env = env;
    l->retention_ms = c->retention_ms;
    (void)snprintf(l->shard, sizeof l->shard, "%d", env->shard);
    (void)snprintf(l->shards, sizeof l->shards, "%d", env->shards);
    *ret_ctx = l;
    return 0;
}

static bool is_true(const PGresult *res, int column)
{
    const char *value = ph_pg_value(res, 0, column);
    return value && *value == 't';
}

int ph_pg_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                      struct ph_lease_said *said, struct ph_error *err)
{
    struct lease *l = ctx;
    char ms[24], retention_ms[24];
    (void)snprintf(ms, sizeof ms, "%lld", (long long)lease_ms);
    (void)snprintf(retention_ms, sizeof retention_ms, "%lld", (long long)l->retention_ms);
    const char *const params[] = {
        l->env->pipeline, l->shard, l->shards, owner, l->env->instance, ms, retention_ms,
    };
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    PH_FAILPOINT("lease.claim.before");
    int rc = ask(l, ph_sql_postgres_q_lease_claim, 7, params, &res, err);
    if (rc == 1) {
        PH_FAILPOINT("lease.claim.after");
        *ret_epoch = ph_pg_i64(res, 0, 0);
        *said = (struct ph_lease_said){.paused = is_true(res, 1)};
    }
    return rc;
}

int ph_pg_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                      const char *last_error, struct ph_lease_said *said, struct ph_error *err)
{
    struct lease *l = ctx;
    char ms[24], number[24];
    (void)snprintf(ms, sizeof ms, "%lld", (long long)lease_ms);
    (void)snprintf(number, sizeof number, "%lld", (long long)epoch);
    const char *const params[] = {
        l->env->pipeline, l->shard, l->shards, owner, l->env->instance, number, ms, last_error,
    };
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ask(l, ph_sql_postgres_q_lease_renew, 8, params, &res, err);
    if (rc == 0) {
        return ph_fail(err, PH_E_FENCED, "the lease of pipeline %s belongs to another instance now",
                       l->env->pipeline);
    }
    if (rc == 1) {
        *said = (struct ph_lease_said){.paused = is_true(res, 0), .excess = is_true(res, 1)};
    }
    return rc < 0 ? rc : 0;
}

int ph_pg_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                        struct ph_error *err)
{
    struct lease *l = ctx;
    char number[24];
    (void)snprintf(number, sizeof number, "%lld", (long long)epoch);
    const char *const params[] = {
        l->env->pipeline, l->shard, owner, number, NULL, l->env->instance, in_order ? "t" : "f"};
    int rc = ask(l, ph_sql_postgres_q_lease_release, 7, params, NULL, err);
    return rc < 0 ? rc : 0;
}

/* The server ends a statement a little before we would give up the connection. */
int ph_pg_maintain(void *ctx, int64_t limit_ms, struct ph_error *err)
{
    struct lease *l = ctx;
    int rc = connected(l, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_buf sql;
    ph_buf_init(&sql, 4096);
    const struct ph_pg_bind binds[] = {
        {.name = "retention_ms", .kind = PH_PG_BIND_I64, .i64 = l->retention_ms},
        {.name = "limit_ms", .kind = PH_PG_BIND_I64, .i64 = limit_ms - limit_ms / 10}};
    rc = ph_pg_bind(&sql, ph_sql_postgres_q_maintain, binds, 2, err);
    if (rc == 0) {
        l->pg.timeout_ms = limit_ms < TIMEOUT_MS ? limit_ms : TIMEOUT_MS;
        rc = ph_pg_script(&l->pg, ph_buf_text(&sql), NULL, err);
        l->pg.timeout_ms = TIMEOUT_MS;
        if (rc < 0) {
            ph_pg_close(&l->pg);
        }
    }
    ph_buf_free(&sql);
    return rc;
}

void ph_pg_lease_close(void *ctx)
{
    struct lease *l = ctx;
    if (l) {
        ph_pg_close(&l->pg);
        ph_mem_free(l);
    }
}
