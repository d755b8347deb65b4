/* For unit tests over SQLite: a folder with a log in it, and statements of an application. */
#ifndef PH_TEST_SQLITE_RIG_H
#define PH_TEST_SQLITE_RIG_H

#include "unit.h"

#include <unistd.h>

#include "db/sqlite.h"
#include "sql_sqlite.h"

struct sqlite_rig {
    char folder[64], path[96], uri[112];
    sqlite3 *app; /* the application's connection */
};

static inline void rig_exec(sqlite3 *db, const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
        fail_msg("%s: %s", sql, why);
    }
}

static inline int64_t rig_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(stmt, 0);
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    return value;
}

static inline sqlite3 *rig_open(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static inline struct sqlite_rig rig_new(void)
{
    struct sqlite_rig rig = {.folder = "/tmp/posthorn-unit-XXXXXX"};
    assert_non_null(mkdtemp(rig.folder));
    (void)snprintf(rig.path, sizeof rig.path, "%s/shop.db", rig.folder);
    (void)snprintf(rig.uri, sizeof rig.uri, "sqlite:%s", rig.path);
    rig.app = rig_open(rig.path);
    rig_exec(rig.app, "PRAGMA journal_mode = wal; BEGIN");
    rig_exec(rig.app, ph_sql_sqlite_m0001_init);
    rig_exec(rig.app, ph_sql_sqlite_m0002_parking);
    rig_exec(rig.app, ph_sql_sqlite_m0003_exactly_once);
    rig_exec(rig.app, "UPDATE posthorn_meta SET schema_version = 3");
    rig_exec(rig.app, "COMMIT");
    return rig;
}

static inline void rig_free(struct sqlite_rig *rig)
{
    char path[112];
    static const char *const ends[] = {"", "-wal", "-shm"};
    (void)sqlite3_close(rig->app);
    for (size_t i = 0; i < COUNT(ends); i++) {
        (void)snprintf(path, sizeof path, "%s%s", rig->path, ends[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(rig->folder), 0);
}

/* One event of an aggregate, in a transaction of its own or the one that is open. */
static inline void rig_insert(const struct sqlite_rig *rig, const char *payload)
{
    char *sql = sqlite3_mprintf("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, "
                                "event_type, payload) VALUES ('order', 'o-1', 'placed', %Q)",
                                payload);
    assert_non_null(sql);
    rig_exec(rig->app, sql);
    sqlite3_free(sql);
}

#endif
