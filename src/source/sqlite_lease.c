/*
 * The lease row of an SQLite pipeline, on a connection of the keeper's own, and the clearing of
 * settled events.
 * Promise: expiry is judged by the time since boot, which nobody sets and which goes on while the
 * machine sleeps; a lease of an earlier boot has no owner; the epoch only grows. A connection that
 * fails is dropped and made anew at the next call, so the keeper just calls again.
 */
#include "base/clock.h"
#include "db/sqlite_clear.h"
#include "source/sqlite.h"
#include "sql_sqlite.h"

#define BUSY_MS      1500       /* of a call: a lease of 5 s is renewed three times in its life */
#define LEASE_MAX_US 3600000000 /* longer than the option lease may be */
#define CLEAR_MS     1000       /* of a round: the lease must be renewed */

struct lease {
    const struct ph_source_env *env;
    int64_t retention_ms;
    struct ph_sqlite db;
    char boot_id[PH_SQLITE_BOOT_ID_SIZE];
};

static int connected(struct lease *l, struct ph_error *err)
{
    if (l->db.conn && !ph_sqlite_moved(&l->db)) {
        return 0;
    }
    ph_sqlite_close(&l->db);
    int rc = ph_sqlite_open(&l->db, l->env->uri, PH_SQLITE_WRITE, err);
    if (rc == 0) {
        l->db.busy_ms = BUSY_MS;
    }
    return rc;
}

/* One statement that may give a number, for *ret (may be NULL): 1 when it gave or changed a row, 0
 * when not. */
static int ask(struct lease *l, const char *sql, const struct ph_sqlite_param *params, size_t count,
               int64_t *ret, struct ph_error *err)
{
    int rc = connected(l, err);
    if (rc < 0) {
        return rc;
    }
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    rc = ph_sqlite_query(&l->db, sql, params, count, &stmt, err);
    bool found = rc == 1;
    while (rc == 1) {
        if (ret) {
            *ret = sqlite3_column_int64(stmt, 0);
        }
        rc = ph_sqlite_step(&l->db, stmt, err);
    }
    if (rc == 0) {
        return found || sqlite3_changes(l->db.conn) > 0;
    }
    if (!l->db.busy) {
        (void)sqlite3_finalize(stmt);
        stmt = NULL;
        ph_sqlite_close(&l->db);
    }
    return rc;
}

/* What a person said of the pipeline. said may be NULL. */
static int hear(struct lease *l, struct ph_lease_said *said, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(l->env->pipeline)};
    int64_t paused = 0;
    int rc = ask(l, ph_sql_sqlite_q_pipeline_paused, params, 1, &paused, err);
    if (rc >= 0 && said) {
        *said = (struct ph_lease_said){.paused = paused != 0};
    }
    return rc < 0 ? rc : 0;
}

int ph_sqlite_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                         struct ph_error *err)
{
    int rc = ph_sqlite_check_shards(env, err);
    if (rc < 0) {
        return rc;
    }
    const struct ph_sqlite_source_config *c = config;
    struct lease *l = ph_mem_zero(1, sizeof *l);
    if (!l) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a lease");
    }
    l->env = env;
    l->retention_ms = c->retention_ms;
    ph_sqlite_boot_id(l->boot_id);
    *ret_ctx = l;
    return 0;
}

int ph_sqlite_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                          struct ph_lease_said *said, struct ph_error *err)
{
    struct lease *l = ctx;
    const struct ph_sqlite_param params[] = {
        ph_sqlite_text(l->env->pipeline),
        ph_sqlite_i64(l->env->shard),
        ph_sqlite_text(owner),
        ph_sqlite_text(l->boot_id),
        ph_sqlite_i64(ph_clock_mono_us()),
        ph_sqlite_i64(lease_ms),
        ph_sqlite_i64(LEASE_MAX_US),
        ph_sqlite_i64(ph_clock_wall_us() / 1000),
        ph_sqlite_i64(l->retention_ms),
    };
    int rc = ask(l, ph_sql_sqlite_q_lease_claim, params, sizeof params / sizeof params[0],
                 ret_epoch, err);
    if (rc <= 0) {
        return rc;
    }
    rc = ask(l, ph_sql_sqlite_q_pipeline_new, params, 1, NULL, err);
    rc = rc < 0 ? rc : hear(l, said, err);
    return rc < 0 ? rc : 1;
}

int ph_sqlite_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                          const char *last_error, struct ph_lease_said *said, struct ph_error *err)
{
    struct lease *l = ctx;
    const struct ph_sqlite_param params[] = {
        ph_sqlite_text(l->env->pipeline),
        ph_sqlite_i64(l->env->shard),
        ph_sqlite_text(owner),
        ph_sqlite_i64(epoch),
        ph_sqlite_text(l->boot_id),
        ph_sqlite_i64(ph_clock_mono_us()),
        ph_sqlite_i64(lease_ms),
        ph_sqlite_i64(ph_clock_wall_us() / 1000),
        ph_sqlite_text(last_error),
    };
    int rc =
        ask(l, ph_sql_sqlite_q_lease_renew, params, sizeof params / sizeof params[0], NULL, err);
    if (rc == 0) {
        return ph_fail(err, PH_E_FENCED, "the lease of pipeline %s belongs to another instance now",
                       l->env->pipeline);
    }
    return rc < 0 ? rc : hear(l, said, err);
}

int ph_sqlite_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                            struct ph_error *err)
{
    struct lease *l = ctx;
    (void)in_order; /* one shard for ever */
    const struct ph_sqlite_param params[] = {ph_sqlite_text(l->env->pipeline),
                                             ph_sqlite_i64(l->env->shard), ph_sqlite_text(owner),
                                             ph_sqlite_i64(epoch)};
    int rc = ask(l, ph_sql_sqlite_q_lease_release, params, 4, NULL, err);
    return rc < 0 ? rc : 0;
}

/* The retention in force is the longest that a pipeline asks for. */
int ph_sqlite_maintain(void *ctx, int64_t limit_ms, struct ph_error *err)
{
    struct lease *l = ctx;
    int64_t part_ms = limit_ms / 4; /* each of the three steps may wait for the write lock */
    int64_t retention_ms = 0, cleared = 0;
    int rc = connected(l, err);
    if (rc < 0) {
        return rc;
    }
    l->db.busy_ms = part_ms < BUSY_MS ? part_ms : BUSY_MS;
    rc = ask(l, ph_sql_sqlite_q_retention, NULL, 0, NULL, err);
    if (rc >= 0) {
        rc = ask(l, ph_sql_sqlite_q_retention_now, NULL, 0, &retention_ms, err);
    }
    if (rc >= 0) {
        rc = ph_sqlite_clear(&l->db, retention_ms, part_ms < CLEAR_MS ? part_ms : CLEAR_MS,
                             &cleared, err);
    }
    l->db.busy_ms = BUSY_MS;
    return rc;
}

void ph_sqlite_lease_close(void *ctx)
{
    struct lease *l = ctx;
    if (l) {
        ph_sqlite_close(&l->db);
        ph_mem_free(l);
    }
}
