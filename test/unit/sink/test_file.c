/* The file sink: lines on disk before verdicts, rotation, disks that fail at every write and sync.
 */
#include "file_rig.h"

/* --- writing ---------------------------------------------------------------------------------- */

static void delivers(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777 & ~0640U, 0);
    deliver(f, 3);
    check_all(f);
    assert_int_equal(driver->poll(f->ctx, 1000, NULL), 0);
    assert_int_equal(driver->fd(f->ctx), -1);
    start(f);
    assert_string_equal(warned, "");
    deliver(f, 50);
    check_all(f);
}

static void one_sync_for_many_batches(void **state)
{
    struct fixture *f = *state;
    struct ph_batch *other = ph_batch_new(1, 1000);
    start(f);
    disk.syncs = 0;
    fill(f, 2);
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    struct ph_batch *first = f->batch;
    f->batch = other;
    fill(f, 1);
    f->batch = first;
    assert_int_equal(driver->submit(f->ctx, other, NULL), 0);
    assert_int_equal(disk.syncs, 0);
    assert_int_equal(first->settled, 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_int_equal(disk.syncs, 1);
    assert_true(ph_batch_done(first) && ph_batch_done(other));
    ph_batch_free(other);
    check_all(f);
    f->config.fsync = false;
    start(f);
    deliver(f, 3);
    assert_int_equal(disk.syncs, 1);
}

static void short_and_interrupted_writes(void **state)
{
    struct fixture *f = *state;
    disk.short_writes = disk.interrupts = true;
    start(f);
    deliver(f, 20);
    check_all(f);
}

static void large_batches_are_written_in_parts(void **state)
{
    struct fixture *f = *state;
    static char payload[100002];
    memset(payload, 'x', sizeof payload);
    payload[0] = payload[sizeof payload - 1] = '"';
    start(f);
    fill(f, 50);
    for (size_t i = 0; i < f->batch->count; i++) {
        f->batch->events[i].payload = (struct ph_str){payload, sizeof payload};
    }
    disk.calls = 0;
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_in_range(disk.calls, 10, 30);
    assert_true(ph_batch_done(f->batch));
    check_all(f);
}

/* A disk that fails at the n-th call, for every n: DOWN, nothing more in the file than was SENT,
 * and the rest comes when the disk is back. */
static void fails_everywhere(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    f->config.rotate_size = 600;
    start(f);
    deliver(f, 1);
    int rc = -1;
    for (long n = 0; rc < 0; n++) {
        fill(f, 10);
        disk.until_failure = n;
        disk.code = n % 2 ? EIO : ENOSPC;
        assert_int_equal(driver->submit(f->ctx, f->batch, &err), 0);
        rc = driver->poll(f->ctx, 0, &err);
        assert_true(rc == 0 || rc == PH_E_IO);
        if (rc < 0) {
            assert_non_null(strstr(err.text, f->path));
            int64_t last = f->position;
            f->position += (int64_t)f->batch->settled - 10;
            check_all(f);
            f->position = last;
            assert_int_equal(driver->poll(f->ctx, 0, &err), PH_E_IO);
        }
        disk.until_failure = -1;
        assert_int_equal(driver->poll(f->ctx, 0, &err), 0);
        assert_true(ph_batch_done(f->batch));
        check_all(f);
        assert_true(n < 100);
    }
}

static void abandon_forgets(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 2);
    fill(f, 5);
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    disk.until_failure = 0;
    assert_int_equal(driver->poll(f->ctx, 0, NULL), PH_E_IO);
    driver->abandon(f->ctx);
    ph_batch_reset(f->batch);
    disk.until_failure = -1;
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    f->position = 2;
    check_all(f);
    deliver(f, 5);
    check_all(f);
}

/* --- rotation --------------------------------------------------------------------------------- */

static void rotates(void **state)
{
    struct fixture *f = *state;
    char name[128];
    f->config.rotate_size = 1000;
    start(f);
    for (int i = 0; i < 10; i++) {
        deliver(f, 7);
    }
    (void)snprintf(name, sizeof name, "%s.1", f->path);
    assert_in_range(size_of(name), 1000, 1300);
    (void)snprintf(name, sizeof name, "%s.10", f->path);
    assert_in_range(size_of(name), 1000, 1300);
    assert_true(size_of(f->path) < 1300);
    check_all(f);
    start(f);
    deliver(f, 7);
    check_all(f);
}

static void rotation_replaces_nothing(void **state)
{
    struct fixture *f = *state;
    char name[128];
    (void)snprintf(name, sizeof name, "%s.41", f->path);
    write_file(name, "", 0);
    (void)snprintf(name, sizeof name, "%s.042", f->path);
    write_file(name, "not ours", 8);
    (void)snprintf(name, sizeof name, "%s.x", f->path);
    write_file(name, "not ours", 8);
    f->config.rotate_size = 1;
    start(f);
    deliver(f, 3);
    (void)snprintf(name, sizeof name, "%s.42", f->path);
    assert_true(size_of(name) > 0);
    (void)snprintf(name, sizeof name, "%s.43", f->path);
    assert_true(size_of(name) > 0);
    check_all(f);
}

static void file_taken_away(void **state)
{
    struct fixture *f = *state;
    char away[128];
    f->config.rotate_size = 300;
    start(f);
    deliver(f, 2);
    (void)snprintf(away, sizeof away, "%s.1", f->path);
    assert_int_equal(rename(f->path, away), 0);
    deliver(f, 3);
    check_all(f);
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    int rc = -1;
    for (long ok = 0; rc < 0; ok++) {
        unit_memory_fail_after(ok);
        rc = driver->open(&f->env, &f->config, &f->ctx, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
    }
    unit_memory_fail_after(-1);
    f->config.rotate_size = 200;
    start(f);
    fill(f, 10);
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    rc = -1;
    for (long ok = 0; rc < 0; ok++) {
        unit_memory_fail_after(ok);
        rc = driver->poll(f->ctx, 0, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
        assert_true(ok < 50);
    }
    assert_true(ph_batch_done(f->batch));
    unit_memory_fail_after(-1);
    check_all(f);
    rc = -1;
    for (long ok = 0; rc < 0; ok++) {
        struct seen seen = {.next = 1};
        unit_memory_fail_after(ok);
        rc = driver->scan(&f->env, &f->config, NULL, 0, see, &seen, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
    }
    unit_memory_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(delivers),
        FILE_TEST(one_sync_for_many_batches),
        FILE_TEST(short_and_interrupted_writes),
        FILE_TEST(large_batches_are_written_in_parts),
        FILE_TEST(fails_everywhere),
        FILE_TEST(abandon_forgets),
        FILE_TEST(rotates),
        FILE_TEST(rotation_replaces_nothing),
        FILE_TEST(file_taken_away),
        FILE_TEST(memory_fails),
    };
    return cmocka_run_group_tests_name("sink/file", tests, NULL, NULL);
}
