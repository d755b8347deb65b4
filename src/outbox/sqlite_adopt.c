/*
 * Adopting SQLite's log: every copy of the file is at home wherever it lies, but its sinks may know
 * more than a copy that was put back, and a person decides then.
 * Place: the driver's adopt. Promise: one transaction, with its line in the audit; a dry run takes
 * no lock and changes nothing.
 */
#include "base/clock.h"
#include "base/json.h"
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

#define DETAIL_MAX 65536

struct goal {
    struct ph_sqlite_param position; /* NULL: each keeps its own */
    struct ph_sqlite_param pipeline; /* NULL: all */
    struct ph_buf detail;            /* for the audit */
};

static int last_position(struct ph_sqlite *db, int64_t *ret, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_last, NULL, 0, &stmt, err);
    *ret = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    return rc < 0 ? rc : 0;
}

static int find_time(struct ph_sqlite *db, int64_t since_us, struct goal *goal,
                     struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(since_us / 1000)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_begin_time, params, 1, &stmt, err);
    int64_t found = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    if (rc == 0) {
        rc = last_position(db, &found, err);
    }
    goal->position = ph_sqlite_i64(found);
    return rc < 0 ? rc : 0;
}

static int find_goal(struct ph_sqlite *db, const struct ph_outbox_adopt *how, struct goal *goal,
                     struct ph_error *err)
{
    int64_t last = 0;
    switch (how->kind) {
    case PH_ADOPT_KEEP:
        return 0;
    case PH_ADOPT_ALL:
        goal->position = ph_sqlite_i64(0);
        return 0;
    case PH_ADOPT_SINCE:
        return find_time(db, how->since_us, goal, err);
    case PH_ADOPT_FROM:
        break;
    }
    int rc = last_position(db, &last, err);
    if (rc == 0 && (how->from.tick > 1 || how->from.position > last)) {
        return ph_fail(err, PH_E_CONFIG,
                       "position %lld-%lld is beyond what this database knows, whose newest is "
                       "1-%lld: name a place in it (posthorn status), or a time",
                       (long long)how->from.tick, (long long)how->from.position, (long long)last);
    }
    goal->position = ph_sqlite_i64(how->from.tick < 1 ? 0 : how->from.position);
    return rc;
}

struct giving {
    int (*each)(void *arg, const struct ph_outbox_adopted *adopted);
    void *arg;
};

static void put_detail(struct ph_buf *out, const struct ph_outbox_adopted *row, bool first)
{
    ph_buf_puts(out, first ? "{" : ",{");
    ph_json_put_member(out, "pipeline", ph_str_from(row->pipeline));
    ph_json_put_member(out, "from", ph_str_from(row->from));
    ph_json_put_member(out, "to", ph_str_from(row->to));
    ph_json_put_member_i64(out, "again", row->again);
    ph_json_put_member_i64(out, "first", row->first);
    ph_json_put_member_i64(out, "skipped", row->skipped);
    ph_buf_putc(out, '}');
}

static int give_row(sqlite3_stmt *stmt, const struct giving *giving, bool dry_run,
                    struct ph_buf *detail, bool first, struct ph_error *err)
{
    char from[PH_POSITION_TEXT_MAX], to[PH_POSITION_TEXT_MAX], owned[PH_ERROR_TEXT_MAX] = "";
    const char *owner = (const char *)sqlite3_column_text(stmt, 9);
    int64_t tick = sqlite3_column_int64(stmt, 2);
    ph_position_format((struct ph_position){tick, sqlite3_column_int64(stmt, 3)}, from);
    ph_position_format((struct ph_position){tick, sqlite3_column_int64(stmt, 4)}, to);
    if (owner) {
        (void)snprintf(owned, sizeof owned,
                       "pipeline %s is owned by %s: stop all its instances, then adopt",
                       (const char *)sqlite3_column_text(stmt, 0), owner);
    }
    const struct ph_outbox_adopted row = {
        .pipeline = (const char *)sqlite3_column_text(stmt, 0),
        .shard = (const char *)sqlite3_column_text(stmt, 1),
        .moved = true,
        .from = from,
        .to = to,
        .again = sqlite3_column_int64(stmt, 5),
        .first = sqlite3_column_int64(stmt, 6),
        .skipped = sqlite3_column_int64(stmt, 7),
        .beside = sqlite3_column_int64(stmt, 8),
        .in_sink = sqlite3_column_int(stmt, 10) != 0,
        .refused = owner && dry_run ? owned : NULL,
    };
    if (owner && !dry_run) {
        return ph_fail(err, PH_E_CONFIG, "%s", owned);
    }
    put_detail(detail, &row, first);
    return giving->each(giving->arg, &row);
}

/* Gives each checkpoint; how many there are. */
static int give_rows(struct ph_sqlite *db, const struct giving *giving, bool dry_run,
                     struct goal *goal, struct ph_error *err)
{
    char boot_id[PH_SQLITE_BOOT_ID_SIZE];
    ph_sqlite_boot_id(boot_id);
    const struct ph_sqlite_param params[] = {
        goal->pipeline, goal->position, ph_sqlite_text(boot_id), ph_sqlite_i64(ph_clock_mono_us())};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int count = 0;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_adopt_plan, params, 4, &stmt, err);
    for (; rc == 1; count++) {
        int given = give_row(stmt, giving, dry_run, &goal->detail, count == 0, err);
        rc = given < 0 ? given : ph_sqlite_step(db, stmt, err);
    }
    return rc < 0 ? rc : count;
}

static int move(struct ph_sqlite *db, struct goal *goal, const struct ph_outbox_act *act,
                struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {goal->pipeline, goal->position,
                                             ph_sqlite_i64(ph_clock_wall_us() / 1000)};
    int rc = ph_sqlite_run(db, ph_sql_sqlite_q_adopt, params, 3, err);
    if (rc >= 0) {
        rc = ph_sqlite_run(db, ph_sql_sqlite_q_adopt_lease, params, 1, err);
    }
    if (rc < 0) {
        return rc;
    }
    ph_buf_puts(&goal->detail, "]}");
    rc = ph__sqlite_outbox_audit(db, "adopt", act, &goal->detail, err);
    return rc < 0 ? rc : 1;
}

static int adopt(struct ph_sqlite *db, const struct ph_outbox_adopt *how,
                 const struct ph_outbox_act *act, const struct giving *giving, struct goal *goal,
                 struct ph_error *err)
{
    if (how->shard > 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "a log of kind sqlite has one reader, so its pipelines have one shard: 0");
    }
    int rc = find_goal(db, how, goal, err);
    if (rc == 0) {
        rc = give_rows(db, giving, how->dry_run, goal, err);
    }
    if (rc == 0 && how->pipeline) {
        return ph_fail(err, PH_E_CONFIG, "the log knows no pipeline %s, or it has not begun",
                       how->pipeline);
    }
    return rc <= 0 || how->dry_run ? rc : move(db, goal, act, err);
}

int ph__sqlite_outbox_adopt(void *ctx, const struct ph_outbox_adopt *how,
                            const struct ph_outbox_act *act,
                            int (*each)(void *arg, const struct ph_outbox_adopted *adopted),
                            void *arg, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    const struct giving giving = {each, arg};
    struct goal goal = {.position = ph_sqlite_text(NULL),
                        .pipeline = ph_sqlite_text(how->pipeline)};
    ph_buf_init(&goal.detail, DETAIL_MAX);
    ph_buf_puts(&goal.detail, "{\"checkpoints\":[");
    int rc = ph_sqlite_script(&o->db, how->dry_run ? "BEGIN" : "BEGIN IMMEDIATE", err);
    if (rc == 0) {
        rc = adopt(&o->db, how, act, &giving, &goal, err);
        rc = ph__sqlite_outbox_end(&o->db, how->dry_run && rc > 0 ? 0 : rc, err);
    }
    ph_buf_free(&goal.detail);
    return rc < 0 ? rc : 0;
}
