/*
 * The file sink: lines on disk before verdicts, rotation, repair, the lock, disks that fail at
 * every write and sync, and the scan. pwrite and fdatasync are replaced here, so that they fail on
 * demand.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sink/file.h"
#include "sink/ndjson.h"

static const struct ph_sink_driver *const driver = &ph_sink_file;
static const struct ph_tick_span span = {.tick = 7};

/* --- a disk that fails ------------------------------------------------------------------------ */

static struct {
    long until_failure; /* calls that still work; negative: all */
    long calls, syncs;
    bool short_writes, interrupts;
    int code;
} disk;

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    disk.calls++;
    if (disk.until_failure == 0) {
        errno = disk.code;
        return -1;
    }
    disk.until_failure -= disk.until_failure > 0;
    if (disk.interrupts && disk.calls % 2) {
        errno = EINTR;
        return -1;
    }
    len = disk.short_writes && len > 7 ? 7 : len;
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

int fdatasync(int fd)
{
    disk.calls++;
    disk.syncs++;
    if (disk.until_failure == 0) {
        errno = disk.code;
        return -1;
    }
    disk.until_failure -= disk.until_failure > 0;
    if (disk.interrupts && disk.calls % 2) {
        errno = EINTR;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* --- fixture ---------------------------------------------------------------------------------- */

struct fixture {
    char folder[64], path[96], uri[128];
    struct ph_file_config config;
    struct ph_sink_env env;
    struct ph_batch *batch;
    int64_t position;
    void *ctx;
};

static char warned[4096];

static void warn(const char *pipeline, const char *text)
{
    (void)pipeline;
    (void)snprintf(warned, sizeof warned, "%s", text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    disk.until_failure = -1;
    disk.short_writes = disk.interrupts = false;
    disk.code = ENOSPC;
    warned[0] = '\0';
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/test_file_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof f->path, "%s/out.ndjson", f->folder);
    (void)snprintf(f->uri, sizeof f->uri, "file:%s", f->path);
    f->config.fsync = true;
    f->env =
        (struct ph_sink_env){.pipeline = "p", .uri = f->uri, .window_batches = 2, .warn = warn};
    f->batch = ph_batch_new(100, 1 << 20);
    return 0;
}

static void each_file(const struct fixture *f, void (*call)(const char *path))
{
    DIR *dir = opendir(f->folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char path[512];
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", f->folder, entry->d_name);
            call(path);
        }
    }
    (void)closedir(dir);
}

static void remove_file(const char *path)
{
    (void)unlink(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    driver->close(f->ctx);
    ph_batch_free(f->batch);
    each_file(f, remove_file);
    (void)rmdir(f->folder);
    free(f);
    return unit_memory_restore(state);
}

static void start(struct fixture *f)
{
    struct ph_error err = {0};
    driver->close(f->ctx);
    f->ctx = NULL;
    if (driver->open(&f->env, &f->config, &f->ctx, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void fill(struct fixture *f, size_t count)
{
    ph_batch_reset(f->batch);
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = ph_batch_add(f->batch);
        event->span = &span;
        event->position = ++f->position;
        event->aggregate_id = PH_STR("order-1");
        event->payload = PH_STR("{}");
    }
}

static void deliver(struct fixture *f, size_t count)
{
    fill(f, count);
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_true(ph_batch_done(f->batch));
}

static void write_file(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    (void)close(fd);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

struct seen {
    int64_t next;
    size_t count;
};

static int see(void *arg, const struct ph_record *record)
{
    struct seen *seen = arg;
    assert_int_equal(record->at.position, seen->next++);
    assert_str(record->key, "order-1");
    seen->count++;
    return 0;
}

/* All events delivered so far are in the files, once and in order. */
static void check_all(struct fixture *f)
{
    struct seen seen = {.next = 1};
    struct ph_error err = {0};
    if (driver->scan(&f->env, &f->config, NULL, 0, see, &seen, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(seen.count, f->position);
}

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

/* --- opening ---------------------------------------------------------------------------------- */

static void torn_line_is_cut(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 3);
    off_t good = size_of(f->path);
    static const char line[] = "{\"id\":\"abababab-abab-abab-abab-abababababab\",\"type\"";
    for (size_t len = 1; len < sizeof line; len++) {
        write_file(f->path, line, len);
        start(f);
        assert_int_equal(size_of(f->path), good);
        assert_non_null(strstr(warned, "cut off"));
        warned[0] = '\0';
    }
    char zeros[70000] = {0};
    write_file(f->path, zeros, sizeof zeros);
    start(f);
    assert_int_equal(size_of(f->path), good);
    deliver(f, 2);
    check_all(f);
}

static void torn_first_line_is_cut(void **state)
{
    struct fixture *f = *state;
    char text[200000];
    memset(text, 'x', sizeof text);
    memcpy(text, "{\"id\":\"", 7);
    write_file(f->path, text, sizeof text);
    f->env.warn = NULL;
    start(f);
    assert_int_equal(size_of(f->path), 0);
    deliver(f, 2);
    check_all(f);
}

static void check_open_fails(struct fixture *f, const char *uri, int code, const char *word)
{
    struct ph_sink_env env = f->env;
    struct ph_error err = {0};
    void *ctx = NULL;
    env.uri = uri;
    assert_int_equal(driver->open(&env, &f->config, &ctx, &err), code);
    assert_null(ctx);
    if (!strstr(err.text, word)) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, word);
    }
}

static void not_our_file(void **state)
{
    struct fixture *f = *state;
    write_file(f->path, "important\nthings", 16);
    check_open_fails(f, f->uri, PH_E_CONFIG, "not ours");
    assert_int_equal(size_of(f->path), 16);
    int fd = open(f->path, O_WRONLY | O_TRUNC);
    assert_int_equal(ftruncate(fd, ((off_t)65 << 20)), 0);
    (void)close(fd);
    check_open_fails(f, f->uri, PH_E_CONFIG, "64 MiB");
    assert_int_equal(size_of(f->path), (off_t)65 << 20);
}

static void bad_paths(void **state)
{
    struct fixture *f = *state;
    check_open_fails(f, "file:", PH_E_CONFIG, "file:PATH");
    check_open_fails(f, "file:/tmp/", PH_E_CONFIG, "file:PATH");
    check_open_fails(f, "file:/nonexistent/folder/x", PH_E_CONFIG,
                     "/nonexistent/folder/x: No such");
    check_open_fails(f, "file:/tmp", PH_E_CONFIG, "directory");
    check_open_fails(f, "file:/dev/null", PH_E_CONFIG, "not a regular file");
    char slashes[160];
    (void)snprintf(slashes, sizeof slashes, "file://%s", f->path);
    f->env.uri = slashes;
    start(f);
    deliver(f, 1);
    assert_true(size_of(f->path) > 0);
}

static void relative_path(void **state)
{
    struct fixture *f = *state;
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(f->folder), 0);
    f->env.uri = "file:out.ndjson";
    f->config.rotate_size = 300;
    start(f);
    deliver(f, 5);
    check_all(f);
    assert_int_equal(chdir(before), 0);
    free(before);
}

static void one_writer_a_file(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 1);
    check_open_fails(f, f->uri, PH_E_UNAVAILABLE, f->path);
    f->config.rotate_size = 1;
    start(f);
    deliver(f, 3);
    check_open_fails(f, f->uri, PH_E_UNAVAILABLE, "another");
    driver->close(f->ctx);
    f->ctx = NULL;
    start(f);
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

/* --- scan ------------------------------------------------------------------------------------- */

static int scan(struct fixture *f, struct seen *seen, struct ph_error *err)
{
    *seen = (struct seen){.next = 1};
    return driver->scan(&f->env, &f->config, NULL, 0, see, seen, err);
}

static void scan_names_bad_lines(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct ph_error err = {0};
    char where[160], name[128];
    assert_int_equal(scan(f, &seen, &err), PH_E_IO);
    assert_non_null(strstr(err.text, f->path));
    start(f);
    assert_int_equal(scan(f, &seen, &err), 0);
    assert_int_equal(seen.count, 0);
    deliver(f, 2);
    write_file(f->path, "{\"id\":", 6);
    assert_int_equal(scan(f, &seen, &err), 0);
    assert_int_equal(seen.count, 2);
    write_file(f->path, "1}\n", 3);
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    (void)snprintf(where, sizeof where, "%s:3: ", f->path);
    assert_non_null(strstr(err.text, where));
    (void)snprintf(name, sizeof name, "%s.1", f->path);
    assert_int_equal(rename(f->path, name), 0);
    assert_int_equal(truncate(name, size_of(name) - 4), 0);
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    (void)snprintf(where, sizeof where, "%s:3: ", name);
    assert_non_null(strstr(err.text, where));
    assert_non_null(strstr(err.text, "no end"));
}

static int stop_at_two(void *arg, const struct ph_record *record)
{
    (void)arg;
    return record->at.position == 2 ? 42 : 0;
}

static void scan_stops_when_asked(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 3);
    assert_int_equal(driver->scan(&f->env, &f->config, NULL, 0, stop_at_two, NULL, NULL), 42);
}

static void scan_of_long_lines(void **state)
{
    struct fixture *f = *state;
    size_t size = (size_t)3 << 20;
    char *payload = malloc(size);
    assert_non_null(payload);
    memset(payload, '1', size);
    start(f);
    fill(f, 20);
    for (size_t i = 0; i < f->batch->count; i += 3) {
        f->batch->events[i].payload = (struct ph_str){payload, size - i * 100003};
    }
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_all(f);
    free(payload);
    int fd = open(f->path, O_WRONLY);
    assert_int_equal(ftruncate(fd, size_of(f->path) + ((off_t)65 << 20)), 0);
    (void)close(fd);
    write_file(f->path, "\n", 1);
    struct seen seen;
    struct ph_error err = {0};
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    assert_non_null(strstr(err.text, ":21: longer than 64 MiB"));
}

/* Rotation between opening the present file and listing the others shows it under both names. */
static void scan_sees_no_file_twice(void **state)
{
    struct fixture *f = *state;
    char name[128];
    start(f);
    deliver(f, 3);
    (void)snprintf(name, sizeof name, "%s.1", f->path);
    assert_int_equal(link(f->path, name), 0);
    check_all(f);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        FILE_TEST(torn_line_is_cut),
        FILE_TEST(torn_first_line_is_cut),
        FILE_TEST(not_our_file),
        FILE_TEST(bad_paths),
        FILE_TEST(relative_path),
        FILE_TEST(one_writer_a_file),
        FILE_TEST(memory_fails),
        FILE_TEST(scan_names_bad_lines),
        FILE_TEST(scan_stops_when_asked),
        FILE_TEST(scan_of_long_lines),
        FILE_TEST(scan_sees_no_file_twice),
    };
    return cmocka_run_group_tests_name("sink/file", tests, NULL, NULL);
}
