/*
 * What the tests of the file sink share: a folder of their own, batches, and a disk that fails on
 * demand, since pwrite and fdatasync are replaced here. One test program, one include.
 */
#ifndef PH_TEST_FILE_RIG_H
#define PH_TEST_FILE_RIG_H

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

static inline void warn(const char *pipeline, const char *text)
{
    (void)pipeline;
    (void)snprintf(warned, sizeof warned, "%s", text);
}

static inline int setup(void **state)
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

static inline void each_file(const struct fixture *f, void (*call)(const char *path))
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

static inline void remove_file(const char *path)
{
    (void)unlink(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    driver->close(f->ctx);
    ph_batch_free(f->batch);
    each_file(f, remove_file);
    (void)rmdir(f->folder);
    free(f);
    return unit_memory_restore(state);
}

static inline void start(struct fixture *f)
{
    struct ph_error err = {0};
    driver->close(f->ctx);
    f->ctx = NULL;
    if (driver->open(&f->env, &f->config, &f->ctx, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static inline void fill(struct fixture *f, size_t count)
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

static inline void deliver(struct fixture *f, size_t count)
{
    fill(f, count);
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_true(ph_batch_done(f->batch));
}

static inline void write_file(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    (void)close(fd);
}

static inline off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

struct seen {
    int64_t next;
    size_t count;
};

static inline int see(void *arg, const struct ph_record *record)
{
    struct seen *seen = arg;
    assert_int_equal(record->at.position, seen->next++);
    assert_str(record->key, "order-1");
    seen->count++;
    return 0;
}

/* All events delivered so far are in the files, once and in order. */
static inline void check_all(struct fixture *f)
{
    struct seen seen = {.next = 1};
    struct ph_error err = {0};
    if (driver->scan(&f->env, &f->config, NULL, 0, see, &seen, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(seen.count, f->position);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
