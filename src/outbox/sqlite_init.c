/*
 * Installs the schema in an SQLite file, which it makes when it is missing, and turns WAL on.
 * Place: the driver's init; runs sql/sqlite/NNNN_*.sql as they are.
 * Promise: one transaction, so two at once do not meet; running it again changes nothing; the
 * application's own tables are not touched.
 */
#include <unistd.h>

#include "outbox/sqlite.h"
#include "sql_sqlite.h"

struct migration {
    int version;
    const char *sql;
};

/* One row per file, rising. */
static const struct migration migrations[] = {
    {1, ph_sql_sqlite_m0001_init},
    {2, ph_sql_sqlite_m0002_parking},
    {3, ph_sql_sqlite_m0003_exactly_once},
};

#define MIGRATION_COUNT (sizeof migrations / sizeof migrations[0])

static int refuse_roles(const struct ph_outbox_init *how, struct ph_error *err)
{
    return how->roles ? ph_fail(err, PH_E_CONFIG,
                                "SQLite has no roles: who may write the file may do everything; "
                                "leave --roles away")
                      : 0;
}

/* 0 where there is no schema. */
static int read_version(struct ph_sqlite *db, int64_t *ret, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_schema, NULL, 0, &stmt, err);
    *ret = 0;
    if (rc <= 0) {
        return rc;
    }
    (void)sqlite3_finalize(stmt);
    stmt = NULL;
    rc = ph_sqlite_query(db, ph_sql_sqlite_q_identity, NULL, 0, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    *ret = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    if (*ret < 1) {
        return ph_fail(err, PH_E_CONFIG,
                       "%s has a table posthorn_meta without a version: it is not Posthorn's; "
                       "rename or drop it",
                       db->name);
    }
    if (*ret > PH_SQLITE_SCHEMA_VERSION) {
        return ph_fail(err, PH_E_CONFIG,
                       "the schema is at version %lld, this posthorn knows up to %d: use a newer "
                       "posthorn",
                       (long long)*ret, PH_SQLITE_SCHEMA_VERSION);
    }
    return 0;
}

static int set_version(struct ph_sqlite *db, int version, struct ph_error *err)
{
    if (version == 1) {
        return 0; /* 0001 writes the row itself */
    }
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(version)};
    int rc = ph_sqlite_run(db, ph_sql_sqlite_q_migrate_done, params, 1, err);
    return rc < 0 ? rc : 0;
}

static void say(const struct ph_sqlite *db, int64_t was, int64_t is, struct ph_buf *said)
{
    if (was == is) {
        ph_buf_printf(said, "already at version %lld\n", (long long)was);
    } else if (was == 0) {
        ph_buf_printf(said, "installed Posthorn's tables, version %lld, in %s\n", (long long)is,
                      db->name);
    } else {
        ph_buf_printf(said, "migrated Posthorn's tables from version %lld to %lld\n",
                      (long long)was, (long long)is);
    }
}

static int migrate(struct ph_sqlite *db, struct ph_buf *said, struct ph_error *err)
{
    int64_t was = 0, is = 0;
    int rc = read_version(db, &was, err);
    is = was;
    for (size_t i = 0; rc == 0 && i < MIGRATION_COUNT; i++) {
        if (migrations[i].version <= was) {
            continue;
        }
        rc = ph_sqlite_script(db, migrations[i].sql, err);
        if (rc == 0) {
            rc = set_version(db, migrations[i].version, err);
        }
        is = migrations[i].version;
    }
    if (rc == 0) {
        say(db, was, is, said);
    }
    return rc;
}

/* Stays in the file, for every program that opens it. */
static int turn_wal_on(struct ph_sqlite *db, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, "PRAGMA journal_mode = wal", NULL, 0, &stmt, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "cannot turn WAL on, for which no other program may have the "
                                  "database open");
        return rc;
    }
    struct ph_str mode = rc == 1 ? ph_sqlite_column(stmt, 0) : PH_STR("none");
    if (!ph_str_is(mode, "wal")) {
        return ph_fail(err, PH_E_CONFIG,
                       "%s cannot have a WAL (journal_mode stays %.*s): it must be a file on a "
                       "local disk",
                       db->name, PH_STR_ARG(mode));
    }
    return 0;
}

static int install(struct ph_sqlite *db, struct ph_buf *said, struct ph_error *err)
{
    int rc = turn_wal_on(db, err);
    if (rc == 0) {
        rc = ph_sqlite_script(db, "BEGIN IMMEDIATE", err);
    }
    if (rc == 0) {
        rc = migrate(db, said, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_script(db, "COMMIT", err);
    }
    char log_id[PH_SQLITE_LOG_ID_LEN + 1];
    return rc < 0 ? rc : ph_sqlite_check(db, log_id, err);
}

/* What init would run; a missing file stays missing. */
static int show(const char *uri, struct ph_buf *said, struct ph_error *err)
{
    struct ph_sqlite db = {0};
    struct ph_str path;
    int64_t version = 0;
    int rc = ph_sqlite_path(uri, &path, err);
    if (rc == 0 && access(path.ptr, F_OK) == 0) {
        rc = ph_sqlite_open(&db, uri, PH_SQLITE_READ, err);
        if (rc == 0) {
            rc = read_version(&db, &version, err);
            ph_sqlite_close(&db);
        }
    }
    if (rc < 0) {
        return rc;
    }
    ph_buf_puts(said, "PRAGMA journal_mode = wal;\n");
    if (version == PH_SQLITE_SCHEMA_VERSION) {
        ph_buf_printf(said, "-- already at version %lld\n", (long long)version);
        return 0;
    }
    ph_buf_puts(said, "BEGIN IMMEDIATE;\n");
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (migrations[i].version > version) {
            ph_buf_printf(said, "-- version %d\n%s", migrations[i].version, migrations[i].sql);
        }
    }
    ph_buf_puts(said, "COMMIT;\n");
    return 0;
}

int ph__sqlite_outbox_init(const char *uri, const struct ph_outbox_init *how, struct ph_buf *said,
                           struct ph_error *err)
{
    int rc = refuse_roles(how, err);
    if (rc < 0) {
        return rc;
    }
    if (how->dry_run) {
        return show(uri, said, err);
    }
    struct ph_sqlite db = {0};
    rc = ph_sqlite_open(&db, uri, PH_SQLITE_CREATE, err);
    if (rc == 0) {
        rc = install(&db, said, err);
        ph_sqlite_close(&db);
    }
    return rc;
}
