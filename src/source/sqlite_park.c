/*
 * Changes of an SQLite pipeline's parked rows: events leave the flow, and what became of those that
 * came back. Place: the driver's park; sqlite.c says when it is under way and tries again while
 * another program holds the write lock.
 * Promise: a list is one transaction under the epoch of the lease, done in its order; after each
 * change the queue of the key that it touched has one head, with a time for its next attempt unless
 * it is dead. A new row is on disk before it is told as stored, whatever becomes of the checkpoint
 * behind it: with a sink that keeps the checkpoint itself, nothing else would bring the event back.
 */
#include "base/clock.h"
#include "source/sqlite.h"
#include "sql_sqlite.h"

#define JSON_MAX ((size_t)1 << 28)

/* The columns of q_park_changes.sql behind those that the statements take as they are. */
enum { PARAM_FIRST = 4, COL_KEY = 1, COL_ACT = 7, PARAM_KEY = PARAM_FIRST + COL_KEY };

struct act {
    const char *name;
    const char *const sql; /* gives the key of the row that it changed */
};

static const struct act acts[PH_SQLITE_PARK_ACTS] = {
    {"put", ph_sql_sqlite_q_park_put},       {"sent", ph_sql_sqlite_q_park_sent},
    {"failed", ph_sql_sqlite_q_park_failed}, {"queue", ph_sql_sqlite_q_park_queue},
    {"told", ph_sql_sqlite_q_park_told},
};

int ph_sqlite_park_prepare(struct ph_sqlite_source *s, struct ph_error *err)
{
    struct ph_sqlite_park *p = &s->park;
    ph_buf_init(&p->json, JSON_MAX);
    int rc = ph_sqlite_prepare(&s->book, ph_sql_sqlite_q_park_changes, &p->changes, err);
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->book, ph_sql_sqlite_q_park_epoch, &p->newest, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->book, ph_sql_sqlite_q_park_there, &p->there, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_prepare(&s->book, ph_sql_sqlite_q_park_head, &p->head, err);
    }
    for (size_t i = 0; rc == 0 && i < PH_SQLITE_PARK_ACTS; i++) {
        rc = ph_sqlite_prepare(&s->book, acts[i].sql, &p->acts[i], err);
    }
    return rc;
}

int ph_sqlite_park_keep(struct ph_sqlite_source *s, int64_t epoch,
                        const struct ph_park_change *changes, size_t count, struct ph_error *err)
{
    struct ph_sqlite_park *p = &s->park;
    ph_buf_clear(&p->json);
    ph_park_json(changes, count, &p->json);
    p->epoch = epoch;
    p->puts = false;
    for (size_t i = 0; i < count; i++) {
        p->puts = p->puts || changes[i].act == PH_PARK_PUT;
    }
    return ph_buf_check(&p->json, "changes of parked events", err);
}

/* --- one change --------------------------------------------------------------------------------
 */

/* Binds who and when, and from the change that is at hand as many values as stmt takes. */
static int bind_change(struct ph_sqlite_source *s, sqlite3_stmt *stmt, int64_t now_ms,
                       struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard), ph_sqlite_i64(now_ms)};
    int count = sqlite3_bind_parameter_count(stmt);
    int rc = ph_sqlite_bind(&s->book, stmt, params, 3, err);
    for (int i = PARAM_FIRST; rc == 0 && i <= count; i++) {
        sqlite3_value *value = sqlite3_column_value(s->park.changes, i - PARAM_FIRST);
        if (sqlite3_bind_value(stmt, i, value) != SQLITE_OK) {
            rc = ph_fail(err, PH_E_NOMEM, "no memory for a change of parked events");
        }
    }
    return rc;
}

/* The event is not in the log. That is right when its row was made before, and else somebody took
 * it out of the log: the log is to be read anew. */
static int check_there(struct ph_sqlite_source *s, int64_t now_ms, struct ph_error *err)
{
    sqlite3_stmt *stmt = s->park.there;
    int rc = bind_change(s, stmt, now_ms, err);
    if (rc == 0) {
        rc = ph_sqlite_step(&s->book, stmt, err);
    }
    (void)sqlite3_reset(stmt);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    return ph_fail(err, PH_E_UNAVAILABLE,
                   "the event at position %lld was to be parked, but is not in %s any more",
                   (long long)sqlite3_column_int64(s->park.changes, 0), s->book.name);
}

/* The queue of the row that changed is the one of its key. */
static int mend_queue(struct ph_sqlite_source *s, sqlite3_stmt *changed, int64_t now_ms,
                      struct ph_error *err)
{
    if (sqlite3_column_type(changed, 0) == SQLITE_NULL) {
        return 0;
    }
    int rc = bind_change(s, s->park.head, now_ms, err);
    if (rc == 0 && sqlite3_bind_value(s->park.head, PARAM_KEY, sqlite3_column_value(changed, 0)) !=
                       SQLITE_OK) {
        rc = ph_fail(err, PH_E_NOMEM, "no memory for a change of parked events");
    }
    return rc < 0 ? rc : ph_sqlite_step(&s->book, s->park.head, err);
}

/* A row that is gone, or that a person gave up meanwhile, is let be. */
static int change(struct ph_sqlite_source *s, size_t act, int64_t now_ms, struct ph_error *err)
{
    sqlite3_stmt *stmt = s->park.acts[act];
    int rc = bind_change(s, stmt, now_ms, err);
    if (rc == 0) {
        rc = ph_sqlite_step(&s->book, stmt, err);
    }
    if (rc == 1) {
        rc = mend_queue(s, stmt, now_ms, err);
    } else if (rc == 0 && act == PH_PARK_PUT) {
        rc = check_there(s, now_ms, err);
    }
    (void)sqlite3_reset(stmt);
    return rc;
}

/* --- the list ----------------------------------------------------------------------------------
 */

static size_t act_of(sqlite3_stmt *changes)
{
    struct ph_str name = ph_sqlite_column(changes, COL_ACT);
    size_t act = 0;
    while (act < PH_SQLITE_PARK_ACTS && !ph_str_is(name, acts[act].name)) {
        act++;
    }
    return act;
}

static int change_all(struct ph_sqlite_source *s, struct ph_error *err)
{
    sqlite3_stmt *changes = s->park.changes;
    const struct ph_sqlite_param params[] = {ph_sqlite_str(ph_buf_str(&s->park.json))};
    int64_t now_ms = ph_clock_wall_us() / 1000;
    int rc = ph_sqlite_bind(&s->book, changes, params, 1, err);
    while (rc == 0 && (rc = ph_sqlite_step(&s->book, changes, err)) == 1) {
        size_t act = act_of(changes);
        rc = act < PH_SQLITE_PARK_ACTS
                 ? change(s, act, now_ms, err)
                 : ph_fail(err, PH_E_SOFTWARE, "a change of parked events without an act");
    }
    (void)sqlite3_reset(changes);
    return rc;
}

/* 1 = ours, 0 = a newer epoch owns the checkpoint. */
static int check_epoch(struct ph_sqlite_source *s, struct ph_error *err)
{
    const struct ph_sqlite_param params[] = {ph_sqlite_text(s->env->pipeline),
                                             ph_sqlite_i64(s->env->shard)};
    int rc = ph_sqlite_bind(&s->book, s->park.newest, params, 2, err);
    if (rc == 0) {
        rc = ph_sqlite_step(&s->book, s->park.newest, err);
    }
    bool ours = rc == 0 || (rc == 1 && sqlite3_column_int64(s->park.newest, 0) <= s->park.epoch);
    (void)sqlite3_reset(s->park.newest);
    return rc < 0 ? rc : ours;
}

int ph_sqlite_park_store(struct ph_sqlite_source *s, struct ph_error *err)
{
    int rc = ph_sqlite_script(&s->book, "BEGIN IMMEDIATE", err);
    if (rc < 0) {
        return rc;
    }
    int ours = check_epoch(s, err);
    rc = ours == 1 ? change_all(s, err) : ours;
    if (rc == 0 && ours == 1) {
        rc = ph_sqlite_script(&s->book, "COMMIT", err);
    }
    if (!sqlite3_get_autocommit(s->book.conn)) {
        struct ph_error ignored = {0};
        (void)!ph_sqlite_script(&s->book, "ROLLBACK", &ignored);
    }
    if (rc == 0 && ours == 1 && s->park.puts) {
        rc = ph_sqlite_sync(&s->book, err);
    }
    return rc < 0 ? rc : ours;
}
