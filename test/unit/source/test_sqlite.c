/*
 * The SQLite source alone: that what leaves would survive a power failure, bounds of a batch, rows
 * that are no events, settling beside another's lock, identity, the lease.
 */
#include "sqlite_rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "core/source.h"

struct world {
    struct sqlite_rig rig;
    struct ph_source_env env;
    const struct ph_source_driver *driver;
    unsigned char config[64];
    void *source, *lease;
    struct ph_batch *batch;
};

static struct ph_error err;

static struct world world_new(size_t batch_events, size_t batch_bytes)
{
    struct world w = {.rig = rig_new()};
    w.env = (struct ph_source_env){
        .pipeline = "p", .batch_events = batch_events, .batch_bytes = batch_bytes};
    w.driver = ph_source_find("sqlite:x");
    assert_non_null(w.driver);
    assert_true(w.driver->config_size <= sizeof w.config);
    assert_int_equal(ph_options_defaults(w.driver->options, w.config, &err), 0);
    assert_int_equal(
        ph_option_set(w.driver->options, w.config, "", PH_STR("poll_max"), PH_STR("1ms"), &err), 0);
    w.batch = ph_batch_new(batch_events, (size_t)1 << 24);
    return w;
}

static void world_open(struct world *w)
{
    w->env.uri = w->rig.uri;
    if (w->driver->open(&w->env, w->config, &w->source, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void world_free(struct world *w)
{
    ph_batch_free(w->batch);
    if (w->source) {
        w->driver->close(w->source);
    }
    if (w->lease) {
        w->driver->lease_close(w->lease);
    }
    rig_free(&w->rig);
}

/* The next batch; false when the log is read to its end. */
static bool fetch(struct world *w)
{
    ph_batch_reset(w->batch);
    for (int i = 0; i < 10000; i++) {
        int rc = w->driver->fetch(w->source, w->batch, &err);
        if (rc < 0) {
            fail_msg("%s", err.text);
        }
        if (rc == PH_FETCH_BATCH) {
            return true;
        }
        if (w->driver->at_end(w->source)) {
            return false;
        }
        (void)ph_stop_wait(NULL, 1);
    }
    fail_msg("no batch and no end");
    return false;
}

/* --- a disk that keeps only what was synced ----------------------------------------------------
 */

static char shadow_folder[64];

/* Copies what lies behind a descriptor to where a power failure would leave it. */
static void keep_synced(int fd)
{
    char link[64], path[256], copy[512];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    struct stat st;
    if (len <= 0 || shadow_folder[0] == '\0' || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    path[len] = '\0';
    (void)snprintf(copy, sizeof copy, "%s/%s", shadow_folder, strrchr(path, '/') + 1);
    int out = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static char block[65536];
    off_t at = 0;
    for (ssize_t n; out >= 0 && (n = pread(fd, block, sizeof block, at)) > 0; at += n) {
        assert_int_equal(write(out, block, (size_t)n), n);
    }
    assert_int_equal(close(out), 0);
}

/* In front of libc's, for SQLite. */
int fdatasync(int fd)
{
    keep_synced(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

/* The newest position that a power failure now would leave. */
static int64_t survived(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/shop.db", shadow_folder);
    char after[64] = "/tmp/posthorn-unit-XXXXXX", command[512];
    assert_non_null(mkdtemp(after));
    char saved[64];
    (void)snprintf(saved, sizeof saved, "%s", shadow_folder);
    static const char *const ends[] = {"", "-wal"};
    for (size_t i = 0; i < COUNT(ends); i++) {
        char from[128];
        (void)snprintf(from, sizeof from, "%s/shop.db%s", saved, ends[i]);
        int fd = open(from, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)snprintf(shadow_folder, sizeof shadow_folder, "%s", after);
            keep_synced(fd);
            (void)close(fd);
        }
    }
    shadow_folder[0] = '\0'; /* what the look itself does is no part of it */
    (void)snprintf(command, sizeof command, "%s/shop.db", after);
    sqlite3 *db = rig_open(command);
    int64_t newest = rig_number(db, "SELECT coalesce(max(position), 0) FROM posthorn_outbox");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    (void)unlink(command);
    assert_int_equal(rmdir(after), 0);
    (void)snprintf(shadow_folder, sizeof shadow_folder, "%s", saved);
    return newest;
}

static void remove_shadow(void)
{
    char path[128];
    static const char *const names[] = {"shop.db", "shop.db-wal"};
    for (size_t i = 0; i < COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", shadow_folder, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(shadow_folder), 0);
    shadow_folder[0] = '\0';
}

/* A writer whose commits are not synced, and whose checkpoints begin the WAL anew every few
 * commits, synced or not: no event is given before a power failure would leave it. */
static void check_synced_first(const char *synchronous, int autocheckpoint, const char *after)
{
    struct world w = world_new(7, 1 << 20);
    (void)snprintf(shadow_folder, sizeof shadow_folder, "/tmp/posthorn-unit-XXXXXX");
    assert_non_null(mkdtemp(shadow_folder));
    rig_exec(w.rig.app, synchronous);
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA wal_autocheckpoint = %d", autocheckpoint);
    rig_exec(w.rig.app, sql);
    int64_t given = 0;
    for (int i = 1; i <= 200; i++) {
        rig_insert(&w.rig, "{\"n\": 1}");
        rig_exec(w.rig.app, after);
        if (i == 4) {
            world_open(&w); /* some commits were there before */
        }
        while (i >= 4 && i % 4 == 0 && given < i) {
            if (fetch(&w)) { /* false: as of the last look */
                given = w.batch->events[w.batch->count - 1].position;
                assert_true(survived() >= given);
            } else {
                (void)ph_stop_wait(NULL, 1);
            }
        }
    }
    assert_int_equal(given, 200);
    remove_shadow();
    world_free(&w);
}

static void test_what_leaves_is_synced_first(void **state)
{
    (void)state;
    check_synced_first("PRAGMA synchronous = normal", 1000, "");
    check_synced_first("PRAGMA synchronous = normal", 5, "");
    check_synced_first("PRAGMA synchronous = off", 1000, "");
    check_synced_first("PRAGMA synchronous = off", 5, "");
    check_synced_first("PRAGMA synchronous = off", 1, "");
    check_synced_first("PRAGMA synchronous = off", 0, "PRAGMA wal_checkpoint(truncate)");
}

/* --- batches -----------------------------------------------------------------------------------
 */

static void test_a_batch_is_bounded(void **state)
{
    (void)state;
    struct world w = world_new(4, 1000);
    char payload[2003];
    rig_exec(w.rig.app, "BEGIN");
    for (int i = 0; i < 9; i++) { /* 302 bytes, and one of 2002 */
        size_t len = i == 5 ? 2000 : 300;
        memset(payload, 'x', len + 2);
        payload[0] = payload[len + 1] = '"';
        payload[len + 2] = '\0';
        rig_insert(&w.rig, payload);
    }
    rig_exec(w.rig.app, "COMMIT");
    world_open(&w);
    static const size_t counts[] = {3, 2, 1, 3};
    int64_t position = 0;
    for (size_t i = 0; i < COUNT(counts); i++) {
        assert_true(fetch(&w));
        assert_int_equal(w.batch->count, counts[i]);
        position += (int64_t)counts[i];
        assert_true(w.batch->has_end);
        assert_int_equal(w.batch->end.at.tick, 1);
        assert_int_equal(w.batch->end.at.position, position);
    }
    assert_false(fetch(&w));
    world_free(&w);
}

struct malformed {
    const char *columns, *values, *flaw;
};

/* Who owns the file can turn its CHECKs off. */
static void test_rows_that_are_no_events_are_refused(void **state)
{
    (void)state;
    static const struct malformed rows[] = {
        {"aggregate_type, aggregate_id, event_type", "x'00', 'b', 'c'", "aggregate_type"},
        {"aggregate_type, aggregate_id, event_type", "'a', '', 'c'", "aggregate_id"},
        {"aggregate_type, aggregate_id, event_type", "'a', CAST(x'ff' AS TEXT), 'c'",
         "aggregate_id"},
        {"aggregate_type, aggregate_id, event_type", "'a', 'b', CAST(x'610062' AS TEXT)",
         "event_type"},
        {"aggregate_type, aggregate_id, event_type, headers", "'a', 'b', 'c', '[]'", "headers"},
        {"aggregate_type, aggregate_id, event_type, headers", "'a', 'b', 'c', ''", "headers"},
        {"aggregate_type, aggregate_id, event_type, payload", "'a', 'b', 'c', x'31'", "payload"},
        {"aggregate_type, aggregate_id, event_type, payload", "'a', 'b', 'c', '{'", "payload"},
        {"aggregate_type, aggregate_id, event_type, payload, payload_bytes",
         "'a', 'b', 'c', '1', x'31'", "both"},
        {"aggregate_type, aggregate_id, event_type, event_id", "'a', 'b', 'c', 'x'", "event_id"},
        {"aggregate_type, aggregate_id, event_type, created_at", "'a', 'b', 'c', 'now'",
         "created_at"},
        {"aggregate_type, aggregate_id, event_type, content_type, payload_bytes",
         "'a', 'b', 'c', x'00', x'31'", "content_type"},
    };
    struct world w = world_new(COUNT(rows) + 1, 1 << 20);
    rig_exec(w.rig.app, "PRAGMA ignore_check_constraints = on");
    for (size_t i = 0; i < COUNT(rows); i++) {
        char sql[512];
        (void)snprintf(sql, sizeof sql, "INSERT INTO posthorn_outbox (%s) VALUES (%s)",
                       rows[i].columns, rows[i].values);
        rig_exec(w.rig.app, sql);
    }
    rig_exec(w.rig.app, "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, "
                        "headers) VALUES ('a', 'b', 'c', ' {\"h\": \"v\"} ')");
    world_open(&w);
    assert_true(fetch(&w));
    assert_int_equal(w.batch->count, COUNT(rows) + 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(w.batch->events[i].verdict, PH_REJECT);
        if (!strstr(w.batch->events[i].cause, rows[i].flaw)) {
            fail_msg("row %zu: %s", i, w.batch->events[i].cause);
        }
    }
    assert_int_equal(w.batch->events[COUNT(rows)].verdict, PH_PENDING);
    world_free(&w);
}

/* A writer's checkpoint finds no reader in its way between two calls. */
static void test_no_read_transaction_stays_open(void **state)
{
    (void)state;
    struct world w = world_new(5, 1 << 20);
    world_open(&w);
    for (int i = 0; i < 20; i++) {
        rig_insert(&w.rig, "1");
    }
    for (int i = 0; i < 4; i++) {
        assert_true(fetch(&w));
        assert_int_equal(rig_number(w.rig.app, "PRAGMA wal_checkpoint(truncate)"), 0);
    }
    assert_false(fetch(&w));
    assert_int_equal(rig_number(w.rig.app, "PRAGMA wal_checkpoint(truncate)"), 0);
    world_free(&w);
}

/* --- checkpoints -------------------------------------------------------------------------------
 */

static struct ph_checkpoint begin_and_load(struct world *w, int64_t epoch)
{
    struct ph_checkpoint cp;
    const struct ph_start start = {.kind = PH_START_EARLIEST};
    assert_int_equal(w->driver->load(w->source, epoch, &cp, &err), 0);
    assert_int_equal(w->driver->begin(w->source, &start, &cp, &err), 0);
    cp.epoch = epoch;
    return cp;
}

static void test_settle_waits_beside_anothers_lock(void **state)
{
    (void)state;
    struct world w = world_new(5, 1 << 20);
    world_open(&w);
    struct ph_checkpoint cp = begin_and_load(&w, 3);
    rig_insert(&w.rig, "1");
    assert_true(fetch(&w));
    cp.at = w.batch->end.at;
    rig_exec(w.rig.app, "BEGIN IMMEDIATE");
    int64_t began_us = ph_clock_mono_us();
    assert_int_equal(w.driver->settle(w.source, &cp, &err), 1);
    assert_int_equal(w.driver->settled(w.source, 0, &err), 0);
    assert_int_equal(w.driver->settle(w.source, &cp, &err), 0);
    assert_true(ph_clock_mono_us() - began_us < 1000000);
    assert_int_equal(w.driver->settled(w.source, 50, &err), 0);
    rig_exec(w.rig.app, "ROLLBACK");
    assert_int_equal(w.driver->settled(w.source, 50, &err), 1);
    assert_int_equal(rig_number(w.rig.app, "SELECT position FROM posthorn_checkpoint"), 1);
    cp.epoch = 2;
    assert_int_equal(w.driver->settle(w.source, &cp, &err), PH_E_FENCED);
    assert_int_equal(w.driver->load(w.source, 2, &cp, &err), PH_E_FENCED);
    assert_int_equal(w.driver->load(w.source, 4, &cp, &err), 1);
    assert_int_equal(cp.at.position, 1);
    cp.epoch = 3;
    assert_int_equal(w.driver->settle(w.source, &cp, &err), PH_E_FENCED);
    world_free(&w);
}

/* The clock of the program, moved forward. */
static int64_t moved_us;

static int64_t moved_clock(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + moved_us;
}

/* Another's lock is waited for; one that stays for 30 s is said. */
static void test_a_lock_that_stays_is_said(void **state)
{
    (void)state;
    struct ph_sys real = ph_sys;
    ph_sys.mono_us = moved_clock;
    struct world w = world_new(5, 1 << 20);
    world_open(&w);
    struct ph_checkpoint cp = begin_and_load(&w, 1);
    rig_exec(w.rig.app, "BEGIN IMMEDIATE");
    assert_int_equal(w.driver->settle(w.source, &cp, &err), 1);
    moved_us += 29000000;
    assert_int_equal(w.driver->settled(w.source, 0, &err), 0);
    moved_us += 2000000;
    assert_int_equal(w.driver->settled(w.source, 0, &err), PH_E_UNAVAILABLE);
    assert_non_null(strstr(err.text, "locked by another program"));
    rig_exec(w.rig.app, "ROLLBACK");
    ph_sys = real;
    moved_us = 0;
    world_free(&w);
}

static void test_only_its_own_checkpoints_belong_to_a_log(void **state)
{
    (void)state;
    struct world w = world_new(5, 1 << 20);
    world_open(&w);
    struct ph_checkpoint cp = begin_and_load(&w, 1);
    rig_insert(&w.rig, "1");
    rig_exec(w.rig.app, "DELETE FROM posthorn_outbox");
    cp.at.position = 1;
    assert_int_equal(w.driver->contains(w.source, &cp, &err), 1);
    cp.at.position = 2;
    assert_int_equal(w.driver->contains(w.source, &cp, &err), 0);
    cp.at.position = 1;
    cp.at.tick = 2;
    assert_int_equal(w.driver->contains(w.source, &cp, &err), 0);
    cp.at.tick = 1;
    cp.snapshot = PH_STR("00000000-0000-4000-8000-000000000000");
    assert_int_equal(w.driver->contains(w.source, &cp, &err), 0);
    assert_int_equal(w.driver->seek(w.source, &cp, &err), PH_E_DIVERGED);
    world_free(&w);
}

/* --- the lease ---------------------------------------------------------------------------------
 */

static void test_the_lease_has_one_owner(void **state)
{
    (void)state;
    struct world w = world_new(5, 1 << 20);
    w.env.uri = w.rig.uri;
    int64_t epoch = 0;
    assert_int_equal(w.driver->lease_open(&w.env, w.config, &w.lease, &err), 0);
    assert_int_equal(w.driver->lease_claim(w.lease, "a", 60000, &epoch, NULL, &err), 1);
    assert_int_equal(epoch, 1);
    assert_int_equal(w.driver->lease_claim(w.lease, "b", 60000, &epoch, NULL, &err), 0);
    assert_int_equal(w.driver->lease_renew(w.lease, "a", 1, 60000, "it broke", NULL, &err), 0);
    assert_int_equal(w.driver->lease_renew(w.lease, "b", 1, 60000, NULL, NULL, &err), PH_E_FENCED);
    assert_int_equal(w.driver->lease_claim(w.lease, "a", 1, &epoch, NULL, &err), 1);
    assert_int_equal(epoch, 2);
    (void)ph_stop_wait(NULL, 5); /* it has run out */
    assert_int_equal(w.driver->lease_claim(w.lease, "b", 60000, &epoch, NULL, &err), 1);
    assert_int_equal(epoch, 3);
    assert_int_equal(w.driver->lease_renew(w.lease, "a", 2, 60000, NULL, NULL, &err), PH_E_FENCED);
    assert_int_equal(w.driver->lease_release(w.lease, "b", 3, true, &err), 0);
    assert_int_equal(w.driver->lease_claim(w.lease, "c", 60000, &epoch, NULL, &err), 1);
    assert_int_equal(epoch, 4);
    assert_int_equal(rig_number(w.rig.app, "SELECT last_error = 'it broke' FROM posthorn_lease"),
                     1);
    world_free(&w);
}

/* Every allocation may fail: no crash, no leak, and the same batch once there is memory. */
static void test_without_memory(void **state)
{
    (void)state;
    long n = 0;
    for (int rc = -1; rc != PH_FETCH_BATCH; n++) {
        struct world w = world_new(5, 1 << 20);
        w.env.uri = w.rig.uri;
        rig_insert(&w.rig, "1");
        unit_memory_fail_after(n);
        rc = w.driver->open(&w.env, w.config, &w.source, &err);
        if (rc == 0) {
            rc = w.driver->fetch(w.source, w.batch, &err);
        }
        unit_memory_fail_after(-1);
        assert_true(rc == PH_FETCH_BATCH || rc == PH_E_NOMEM);
        world_free(&w);
    }
    assert_in_range(n, 4, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_leaves_is_synced_first),
        cmocka_unit_test(test_a_batch_is_bounded),
        cmocka_unit_test(test_rows_that_are_no_events_are_refused),
        cmocka_unit_test(test_no_read_transaction_stays_open),
        cmocka_unit_test(test_settle_waits_beside_anothers_lock),
        cmocka_unit_test(test_a_lock_that_stays_is_said),
        cmocka_unit_test(test_only_its_own_checkpoints_belong_to_a_log),
        cmocka_unit_test(test_the_lease_has_one_owner),
        cmocka_unit_test_setup_teardown(test_without_memory, unit_memory_watch,
                                        unit_memory_restore),
    };
    return cmocka_run_group_tests_name("source/sqlite", tests, NULL, NULL);
}
