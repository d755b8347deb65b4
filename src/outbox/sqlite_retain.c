/*
 * What leaves SQLite's log: settled events, pipelines that are gone, the content of an aggregate.
 * Place: the driver's cleanup, forget, erase. Promise: forget and erase are one transaction each,
 * with their line in the audit; cleanup clears in small ones and takes nothing that is unsettled.
 */
#include "base/clock.h"
#include "base/json.h"
#include "db/sqlite_clear.h"
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

#define CLEAN_MS   3600000
#define DETAIL_MAX 4096

/* The one number of a statement without parameters. */
static int ask(struct ph_sqlite *db, const char *sql, int64_t *ret, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, sql, NULL, 0, &stmt, err);
    if (rc == 1) {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    return rc < 0 ? rc : 0;
}

/* --- cleanup -----------------------------------------------------------------------------------
 */

struct giving {
    int (*each)(void *arg, const struct ph_outbox_part *part);
    void *arg;
};

static int give(const struct giving *giving, const char *action, const char *reason, int64_t events)
{
    const struct ph_outbox_part part = {"outbox", action, reason, events};
    return giving->each(giving->arg, &part);
}

/* Why events stay: the reader that is furthest behind, when it has not settled all, or their age.
 */
static int give_kept(struct ph_sqlite *db, const struct giving *giving, int64_t events,
                     struct ph_error *err)
{
    char reason[256];
    int64_t newest = 0;
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ask(db, ph_sql_sqlite_q_newest, &newest, err);
    if (rc == 0) {
        rc = ph_sqlite_query(db, ph_sql_sqlite_q_holder, NULL, 0, &stmt, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        return give(giving, "kept", "no pipeline has read the log yet", events);
    }
    if (sqlite3_column_int64(stmt, 2) >= newest) {
        return give(giving, "kept", "the retention", events);
    }
    (void)snprintf(reason, sizeof reason,
                   "pipeline %.100s, shard %d, which has settled up to %lld, or the retention",
                   (const char *)sqlite3_column_text(stmt, 0), sqlite3_column_int(stmt, 1),
                   (long long)sqlite3_column_int64(stmt, 2));
    return give(giving, "kept", reason, events);
}

static int give_parts(struct ph_sqlite *db, const struct giving *giving, const char *action,
                      int64_t cleared, int64_t left, struct ph_error *err)
{
    int rc = cleared > 0 ? give(giving, action, "settled", cleared) : 0;
    if (rc < 0) {
        return rc;
    }
    if (left > 0) {
        return give_kept(db, giving, left, err);
    }
    return cleared > 0 ? 0 : give(giving, "empty", "empty", 0);
}

int ph__sqlite_outbox_cleanup(void *ctx, int64_t retention_ms, bool dry_run,
                              int (*each)(void *arg, const struct ph_outbox_part *part), void *arg,
                              struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    const struct giving giving = {each, arg};
    int64_t cleared = 0, left = 0;
    int rc = retention_ms < 0 ? ask(&o->db, ph_sql_sqlite_q_retention_now, &retention_ms, err) : 0;
    if (rc == 0) {
        rc = dry_run ? ph_sqlite_clearable(&o->db, retention_ms, &cleared, err)
                     : ph_sqlite_clear(&o->db, retention_ms, CLEAN_MS, &cleared, err);
    }
    if (rc == PH_E_UNAVAILABLE && o->db.busy) {
        return give(&giving, "busy", "another program holds the write lock", -1);
    }
    if (rc == 0) {
        rc = ask(&o->db, ph_sql_sqlite_q_count, &left, err);
    }
    if (rc < 0) {
        return rc;
    }
    left -= dry_run ? cleared : 0;
    return give_parts(&o->db, &giving, dry_run ? "clear" : "cleared", cleared, left, err);
}

/* --- forget and erase --------------------------------------------------------------------------
 */

int ph__sqlite_outbox_audit(struct ph_sqlite *db, const char *what, const struct ph_outbox_act *act,
                            struct ph_buf *detail, struct ph_error *err)
{
    int rc = ph_buf_check(detail, "an audit row", err);
    if (rc < 0) {
        return rc;
    }
    const struct ph_sqlite_param params[] = {
        ph_sqlite_i64(ph_clock_wall_us() / 1000), ph_sqlite_text(act->who), ph_sqlite_text(what),
        ph_sqlite_text(act->reason), ph_sqlite_str(ph_buf_str(detail))};
    rc = ph_sqlite_run(db, ph_sql_sqlite_q_audit, params, 5, err);
    return rc < 0 ? rc : 0;
}

int ph__sqlite_outbox_end(struct ph_sqlite *db, int rc, struct ph_error *err)
{
    if (rc > 0) {
        int committed = ph_sqlite_script(db, "COMMIT", err);
        rc = committed < 0 ? committed : rc;
    }
    if (!sqlite3_get_autocommit(db->conn)) {
        struct ph_error ignored = {0};
        (void)!ph_sqlite_script(db, "ROLLBACK", &ignored);
    }
    return rc;
}

struct forgotten {
    int64_t waiting, rows, epoch;
};

static int check_forget(struct ph_sqlite *db, const char *pipeline, bool discard_parked,
                        struct forgotten *ret, struct ph_error *err)
{
    char boot_id[PH_SQLITE_BOOT_ID_SIZE];
    ph_sqlite_boot_id(boot_id);
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline), ph_sqlite_text(boot_id),
                                             ph_sqlite_i64(ph_clock_mono_us())};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_forget_check, params, 3, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct forgotten){sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
                              sqlite3_column_int64(stmt, 3)};
    const char *owner = (const char *)sqlite3_column_text(stmt, 0);
    if (owner) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline %s is owned by %s: stop that posthorn, or take the pipeline out "
                       "of its configuration and reload it, then forget",
                       pipeline, owner);
    }
    if (ret->waiting > 0 && !discard_parked) {
        return ph_fail(
            err, PH_E_CONFIG,
            "pipeline %s has %lld parked, dead or scheduled events, which forgetting would lose: "
            "settle them, or allow it with --discard-parked",
            pipeline, (long long)ret->waiting);
    }
    return ret->rows > 0 ? 1 : 0;
}

static int delete_pipeline(struct ph_sqlite *db, const char *pipeline, int64_t epoch,
                           struct ph_error *err)
{
    static const char *const statements[] = {
        ph_sql_sqlite_q_forget_parked, ph_sql_sqlite_q_forget_checkpoint,
        ph_sql_sqlite_q_forget_lease, ph_sql_sqlite_q_forget_pipeline};
    const struct ph_sqlite_param floor[] = {ph_sqlite_i64(epoch)};
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline)};
    int rc = ph_sqlite_run(db, ph_sql_sqlite_q_forget_floor, floor, 1, err);
    for (size_t i = 0; rc >= 0 && i < sizeof statements / sizeof statements[0]; i++) {
        rc = ph_sqlite_run(db, statements[i], params, 1, err);
    }
    return rc < 0 ? rc : 0;
}

static int forget(struct ph_sqlite *db, const char *pipeline, bool discard_parked,
                  const struct ph_outbox_act *act, struct ph_error *err)
{
    struct forgotten was = {0};
    int rc = check_forget(db, pipeline, discard_parked, &was, err);
    if (rc == 1) {
        rc = delete_pipeline(db, pipeline, was.epoch, err);
        struct ph_buf detail;
        ph_buf_init(&detail, DETAIL_MAX);
        ph_buf_putc(&detail, '{');
        ph_json_put_member(&detail, "pipeline", ph_str_from(pipeline));
        ph_json_put_member_i64(&detail, "epoch", was.epoch);
        ph_json_put_member_i64(&detail, "parked", was.waiting);
        ph_buf_putc(&detail, '}');
        if (rc == 0) {
            rc = ph__sqlite_outbox_audit(db, "forget", act, &detail, err);
        }
        ph_buf_free(&detail);
        rc = rc < 0 ? rc : 1;
    }
    return rc;
}

int ph__sqlite_outbox_forget(void *ctx, const char *pipeline, bool discard_parked,
                             const struct ph_outbox_act *act, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int rc = ph_sqlite_script(&o->db, "BEGIN IMMEDIATE", err);
    return rc < 0 ? rc
                  : ph__sqlite_outbox_end(&o->db,
                                          forget(&o->db, pipeline, discard_parked, act, err), err);
}

static int erase(struct ph_sqlite *db, const char *type, const char *id,
                 const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(type), ph_sqlite_text(id)};
    int events = ph_sqlite_run(db, ph_sql_sqlite_q_erase, params, 2, err);
    int copies =
        events < 0 ? events : ph_sqlite_run(db, ph_sql_sqlite_q_erase_parked, params, 2, err);
    if (copies < 0) {
        return copies;
    }
    struct ph_buf detail;
    ph_buf_init(&detail, DETAIL_MAX);
    ph_buf_putc(&detail, '{');
    ph_json_put_member(&detail, "aggregateType", ph_str_from(type));
    ph_json_put_member(&detail, "aggregateId", ph_str_from(id));
    ph_json_put_member_i64(&detail, "events", events);
    ph_json_put_member_i64(&detail, "parkedCopies", copies);
    ph_buf_putc(&detail, '}');
    int rc = ph__sqlite_outbox_audit(db, "erase", act, &detail, err);
    ph_buf_free(&detail);
    *ret = events + copies;
    return rc < 0 ? rc : 1;
}

/* What was overwritten must not stay in free pages, nor in the WAL where no reader needs it. */
int ph__sqlite_outbox_erase(void *ctx, const char *aggregate_type, const char *aggregate_id,
                            const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int64_t erased = 0;
    int rc = ph_sqlite_script(&o->db, "PRAGMA secure_delete = on; BEGIN IMMEDIATE", err);
    if (rc == 0) {
        rc = ph__sqlite_outbox_end(
            &o->db, erase(&o->db, aggregate_type, aggregate_id, act, &erased, err), err);
    }
    if (rc < 0) {
        return rc;
    }
    struct ph_error ignored = {0};
    (void)!ph_sqlite_script(&o->db, "PRAGMA wal_checkpoint(truncate)", &ignored);
    *ret = erased;
    return 0;
}
