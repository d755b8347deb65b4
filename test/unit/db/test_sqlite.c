/* The SQLite connection: which URIs name a file, how failures are classed, waits that end. */
#include "sqlite_rig.h"

#include <sys/stat.h>

#include "base/clock.h"

static struct ph_error err;

static void uris_name_files(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *path;
    } rows[] = {
        {"sqlite:shop.db", "shop.db"},
        {"sqlite:/var/lib/shop.db", "/var/lib/shop.db"},
        {"sqlite:///var/lib/shop.db", "/var/lib/shop.db"},
        {"sqlite:../a b%20?c.db", "../a b%20?c.db"},
        {"sqlite:", NULL},
        {"sqlite::memory:", NULL},
        {"sqlite://host/shop.db", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ph_str path;
        int rc = ph_sqlite_path(rows[i].uri, &path, &err);
        assert_int_equal(rc, rows[i].path ? 0 : PH_E_CONFIG);
        if (rows[i].path) {
            assert_str(path, rows[i].path);
        }
    }
}

static void only_create_makes_a_file(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    struct ph_sqlite db = {0};
    char uri[160], path[128];
    (void)snprintf(path, sizeof path, "%s/new.db", rig.folder);
    (void)snprintf(uri, sizeof uri, "sqlite:%s", path);
    assert_int_equal(ph_sqlite_open(&db, uri, PH_SQLITE_WRITE, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "there is no file"));
    struct stat st;
    assert_int_not_equal(stat(path, &st), 0);
    assert_int_equal(ph_sqlite_open(&db, uri, PH_SQLITE_CREATE, &err), 0);
    char log_id[PH_SQLITE_LOG_ID_LEN + 1];
    assert_int_equal(ph_sqlite_check(&db, log_id, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "no log of Posthorn"));
    ph_sqlite_close(&db);
    assert_int_equal(unlink(path), 0);
    rig_free(&rig);
}

static void a_utf16_database_is_refused(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    struct ph_sqlite db = {0};
    char path[128], uri[160];
    (void)snprintf(path, sizeof path, "%s/16.db", rig.folder);
    (void)snprintf(uri, sizeof uri, "sqlite:%s", path);
    sqlite3 *app = rig_open(path);
    rig_exec(app, "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)");
    assert_int_equal(ph_sqlite_open(&db, uri, PH_SQLITE_CREATE, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "UTF-16"));
    (void)sqlite3_close(app);
    assert_int_equal(unlink(path), 0);
    rig_free(&rig);
}

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    struct ph_sqlite db = {0};
    char log_id[PH_SQLITE_LOG_ID_LEN + 1];
    assert_int_equal(ph_sqlite_open(&db, rig.uri, PH_SQLITE_READ, &err), 0);
    assert_int_equal(ph_sqlite_check(&db, log_id, &err), 0);
    assert_int_equal(strlen(log_id), PH_SQLITE_LOG_ID_LEN);
    rig_exec(rig.app, "UPDATE posthorn_meta SET schema_version = 99");
    assert_int_equal(ph_sqlite_check(&db, log_id, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "newer posthorn"));
    ph_sqlite_close(&db);
    rig_free(&rig);
}

static void failures_are_classed_and_waits_end(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    struct ph_sqlite db = {0};
    assert_int_equal(ph_sqlite_open(&db, rig.uri, PH_SQLITE_WRITE, &err), 0);
    db.busy_ms = 50;
    rig_exec(rig.app, "BEGIN IMMEDIATE");
    int64_t began_us = ph_clock_mono_us();
    assert_int_equal(ph_sqlite_script(&db, "BEGIN IMMEDIATE", &err), PH_E_UNAVAILABLE);
    int64_t took_us = ph_clock_mono_us() - began_us;
    assert_true(db.busy && took_us >= 50000 && took_us < 5000000);
    rig_exec(rig.app, "ROLLBACK");
    assert_int_equal(ph_sqlite_script(&db, "INSERT INTO posthorn_outbox DEFAULT VALUES", &err),
                     PH_E_DATA);
    assert_false(db.busy);
    assert_int_equal(ph_sqlite_script(&db, "SELEC", &err), PH_E_SOFTWARE);
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(7), ph_sqlite_text("seven"),
                                             ph_sqlite_text(NULL)};
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(ph_sqlite_query(&db, "SELECT ?1 = 7 AND ?2 = 'seven' AND ?3 IS NULL, ''",
                                     params, 3, &stmt, &err),
                     1);
    assert_int_equal(sqlite3_column_int(stmt, 0), 1);
    assert_str(ph_sqlite_column(stmt, 1), "");
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    ph_sqlite_close(&db);
    rig_free(&rig);
}

static void a_reader_cannot_write_and_notices_another_file(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    struct ph_sqlite db = {0};
    char aside[128];
    (void)snprintf(aside, sizeof aside, "%s/aside.db", rig.folder);
    assert_int_equal(ph_sqlite_open(&db, rig.uri, PH_SQLITE_READ, &err), 0);
    assert_int_not_equal(ph_sqlite_script(&db, "DELETE FROM posthorn_outbox", &err), 0);
    assert_int_equal(ph_sqlite_sync(&db, &err), 0);
    assert_false(ph_sqlite_moved(&db));
    assert_int_equal(rename(rig.path, aside), 0);
    assert_true(ph_sqlite_moved(&db));
    assert_int_equal(rename(aside, rig.path), 0);
    assert_false(ph_sqlite_moved(&db));
    ph_sqlite_close(&db);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uris_name_files),
        cmocka_unit_test(only_create_makes_a_file),
        cmocka_unit_test(a_utf16_database_is_refused),
        cmocka_unit_test(a_newer_schema_is_refused),
        cmocka_unit_test(failures_are_classed_and_waits_end),
        cmocka_unit_test(a_reader_cannot_write_and_notices_another_file),
    };
    return cmocka_run_group_tests_name("db/sqlite", tests, NULL, NULL);
}
