/*
 * Reading the file sink back, for verify: the rotated files in order and the present one, line by
 * line, while a relay may be writing.
 * Promise: memory is bounded by one line; a line that is not ours is named by file and number; the
 * present file is read to its end as of the call, without a last line that has no end yet.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "sink/file.h"
#include "sink/ndjson.h"

#define READ_BYTES ((size_t)256 * 1024)

struct reader {
    const char *name;
    int fd;
    int64_t left; /* of the file, not read yet */
    char *bytes;
    size_t size, start, end; /* bytes[start, end) was read and not yet given out */
    uint64_t line;           /* number of the last line given out */
};

struct scan {
    struct ph_arena arena;
    struct reader reader;
    struct stat present; /* what PATH was at the call */
    int (*each)(void *arg, const struct ph_record *record);
    void *arg;
};

static int fail_read(const char *name, int code, struct ph_error *err)
{
    return ph_fail(err, PH_E_IO, "%s: %s", name, strerrordesc_np(code));
}

/* Makes room behind what was read: moves it to the front, or doubles the buffer. */
static int make_room(struct reader *reader, struct ph_error *err)
{
    if (reader->start > 0) {
        memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    if (reader->end < reader->size) {
        return 0;
    }
    size_t size = reader->size ? reader->size * 2 : READ_BYTES;
    if (size > PH_NDJSON_LINE_MAX) {
        return ph_fail(err, PH_E_DATA, "%s:%llu: longer than 64 MiB", reader->name,
                       (unsigned long long)reader->line + 1);
    }
    char *bytes = ph_mem_resize(reader->bytes, size);
    if (!bytes) {
        return ph_fail(err, PH_E_NOMEM, "%s: no memory for a line of %zu bytes", reader->name,
                       size);
    }
    reader->bytes = bytes;
    reader->size = size;
    return 0;
}

/* Reads on: 1, 0 at the end. */
static int read_more(struct reader *reader, struct ph_error *err)
{
    int rc = reader->left > 0 ? make_room(reader, err) : 0;
    if (rc < 0 || reader->left == 0) {
        return rc;
    }
    size_t room = reader->size - reader->end;
    size_t want = reader->left < (int64_t)room ? (size_t)reader->left : room;
    ssize_t got;
    do {
        got = read(reader->fd, reader->bytes + reader->end, want);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return fail_read(reader->name, errno, err);
    }
    reader->left -= got;
    reader->end += (size_t)got;
    return got > 0;
}

/* The next line without its end: 1, 0 at the end of the file; what is left then has no end. */
static int next_line(struct reader *reader, struct ph_str *out, struct ph_error *err)
{
    size_t looked = 0;
    for (;;) {
        size_t have = reader->end - reader->start;
        const char *at = have > 0 ? reader->bytes + reader->start : NULL;
        const char *found = have > looked ? memchr(at + looked, '\n', have - looked) : NULL;
        if (found) {
            *out = (struct ph_str){at, (size_t)(found - at)};
            reader->start += out->len + 1;
            reader->line++;
            return 1;
        }
        looked = have;
        int rc = read_more(reader, err);
        if (rc <= 0) {
            return rc;
        }
    }
}

/* Gives out all lines of the file that the reader has open. */
static int read_lines(struct scan *scan, bool is_present, struct ph_error *err)
{
    struct reader *reader = &scan->reader;
    struct ph_str line;
    int rc;
    while ((rc = next_line(reader, &line, err)) == 1) {
        struct ph_record record;
        ph_arena_reset(&scan->arena, 0);
        rc = ph_ndjson_record(&scan->arena, line, &record, err);
        if (rc < 0) {
            (void)ph_fail_prefix(err, "%s:%llu", reader->name, (unsigned long long)reader->line);
            return rc;
        }
        rc = scan->each(scan->arg, &record);
        if (rc != 0) {
            return rc;
        }
    }
    if (rc == 0 && !is_present && reader->end > reader->start) {
        return ph_fail(err, PH_E_DATA, "%s:%llu: the last line has no end", reader->name,
                       (unsigned long long)reader->line + 1);
    }
    return rc;
}

static int read_file(struct scan *scan, const char *name, int fd, int64_t size, bool is_present,
                     struct ph_error *err)
{
    struct reader *reader = &scan->reader;
    reader->name = name;
    reader->fd = fd;
    reader->left = size;
    reader->start = reader->end = 0;
    reader->line = 0;
    return read_lines(scan, is_present, err);
}

/* Reads PATH.N, unless it is what PATH was at the call: that comes last. */
static int read_rotated(struct scan *scan, const char *path, uint64_t number, bool has_present,
                        struct ph_error *err)
{
    char name[PH_FILE_PATH_MAX];
    int rc = ph__file_rotated_name(path, number, name, err);
    if (rc < 0) {
        return rc;
    }
    struct stat stat;
    PH_CLEANUP(ph_cleanup_fd) int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        return fail_read(name, errno, err);
    }
    if (has_present && stat.st_dev == scan->present.st_dev && stat.st_ino == scan->present.st_ino) {
        return 0;
    }
    return read_file(scan, name, fd, (int64_t)stat.st_size, false, err);
}

static int scan_all(struct scan *scan, const char *path, struct ph_error *err)
{
    /* the present file first, so that a rotation meanwhile hides nothing */
    PH_CLEANUP(ph_cleanup_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int why = errno;
    if ((fd < 0 && why != ENOENT) || (fd >= 0 && fstat(fd, &scan->present) < 0)) {
        return fail_read(path, errno, err);
    }
    PH_CLEANUP(ph_cleanup_mem) uint64_t *numbers = NULL;
    size_t count = 0;
    int rc = ph__file_rotated(path, &numbers, &count, err);
    if (rc == 0 && fd < 0 && count == 0) {
        return fail_read(path, ENOENT, err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_rotated(scan, path, numbers[i], fd >= 0, err);
    }
    if (rc == 0 && fd >= 0) {
        rc = read_file(scan, path, fd, (int64_t)scan->present.st_size, true, err);
    }
    return rc;
}

int ph_file_scan(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                 size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                 void *arg, struct ph_error *err)
{
    (void)config;
    (void)topics; /* a file has none */
    (void)topic_count;
    assert(env && each);
    const char *path;
    int rc = ph__file_path(env->uri, &path, err);
    if (rc < 0) {
        return rc;
    }
    struct scan scan = {.each = each, .arg = arg, .reader = {.fd = -1}};
    ph_arena_init(&scan.arena, 2 * PH_NDJSON_LINE_MAX);
    rc = scan_all(&scan, path, err);
    ph_arena_free(&scan.arena);
    ph_mem_free(scan.reader.bytes);
    return rc;
}
