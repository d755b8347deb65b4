/*
 * The file sink's names, lock and repair: finds the file of a URI, makes sure that nobody else
 * writes it, and cuts off the torn line that a crash in the middle of a write left.
 * Promise: nothing is cut off but the beginning of a line of ours (or the zeros that a file system
 * may leave for it), so that a wrong path destroys nothing.
 */
#include "sink/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "sink/ndjson.h"

#define OPEN_TRIES  10
#define BLOCK_BYTES 65536

PH_DEFINE_CLEANUP(folder, DIR *, (void)closedir);

int ph__file_path(const char *uri, const char **ret, struct ph_error *err)
{
    assert(uri && ret);
    struct ph_str text = ph_str_from(uri);
    const char *path = ph_str_starts(text, PH_STR("file:")) ? uri + 5 : uri;
    if (strncmp(path, "///", 3) == 0) {
        path += 2;
    }
    size_t len = strlen(path);
    if (len == 0 || path[len - 1] == '/' || len > PH_FILE_PATH_MAX - 32) {
        return ph_fail(err, PH_E_CONFIG, "%s: write it as file:PATH, the path of a file", uri);
    }
    *ret = path;
    return 0;
}

/* The error of a call on the file: what can pass is PH_E_IO, what needs a person PH_E_CONFIG. */
static int fail_errno(const char *path, int code, struct ph_error *err)
{
    bool person = code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM ||
                  code == EISDIR || code == EROFS || code == ENAMETOOLONG || code == ELOOP ||
                  code == ENXIO || code == ETXTBSY;
    return ph_fail(err, person ? PH_E_CONFIG : PH_E_IO, "%s: %s", path, strerrordesc_np(code));
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Opens and locks what has the name at present: 1, 0 when it has lost it since. */
static int open_once(const char *path, int *ret_fd, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    struct stat opened, named;
    if (fd < 0 || fstat(fd, &opened) < 0) {
        return fail_errno(path, errno, err);
    }
    if (!S_ISREG(opened.st_mode)) {
        return ph_fail(err, PH_E_CONFIG, "%s is not a regular file", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK
                   ? ph_fail(err, PH_E_UNAVAILABLE, "%s: another posthorn is writing it", path)
                   : fail_errno(path, errno, err);
    }
    if (stat(path, &named) < 0) {
        return errno == ENOENT ? 0 : fail_errno(path, errno, err);
    }
    if (named.st_dev != opened.st_dev || named.st_ino != opened.st_ino) {
        return 0;
    }
    *ret_fd = fd;
    fd = -1;
    return 1;
}

/* Reads len bytes at an offset; whatever else happens is an error. */
static int read_at(int fd, const char *path, char *out, size_t len, int64_t offset,
                   struct ph_error *err)
{
    while (len > 0) {
        ssize_t got = pread(fd, out, len, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return fail_errno(path, got < 0 ? errno : EIO, err);
        }
        out += got;
        offset += got;
        len -= (size_t)got;
    }
    return 0;
}

/* Finds where the last line begins that has no end: behind the last line end of size bytes. */
static int find_torn(int fd, const char *path, int64_t size, int64_t *ret, struct ph_error *err)
{
    char block[BLOCK_BYTES];
    int64_t least = size > (int64_t)PH_NDJSON_LINE_MAX ? size - (int64_t)PH_NDJSON_LINE_MAX : 0;
    for (int64_t end = size; end > least;) {
        size_t len = end - least < BLOCK_BYTES ? (size_t)(end - least) : BLOCK_BYTES;
        int rc = read_at(fd, path, block, len, end - (int64_t)len, err);
        if (rc < 0) {
            return rc;
        }
        const char *found = memrchr(block, '\n', len);
        if (found) {
            *ret = end - (int64_t)len + (found - block) + 1;
            return 0;
        }
        end -= (int64_t)len;
    }
    if (least > 0) {
        return ph_fail(err, PH_E_CONFIG, "%s has no line end in its last 64 MiB: not ours to write",
                       path);
    }
    *ret = 0;
    return 0;
}

/* Whether a torn line may be one of ours: it begins like one, or holds zeros only. */
static bool is_ours(const char *start, size_t len)
{
    size_t known = len < sizeof PH_NDJSON_START - 1 ? len : sizeof PH_NDJSON_START - 1;
    if (memcmp(start, PH_NDJSON_START, known) == 0) {
        return true;
    }
    size_t zeros = 0;
    while (zeros < len && start[zeros] == '\0') {
        zeros++;
    }
    return zeros == len;
}

static int repair(int fd, const char *path, int64_t *size, int64_t *ret_cut, struct ph_error *err)
{
    int64_t torn = *size;
    int rc = find_torn(fd, path, *size, &torn, err);
    *ret_cut = 0;
    if (rc < 0 || torn == *size) {
        return rc;
    }
    char start[64];
    size_t len = *size - torn < (int64_t)sizeof start ? (size_t)(*size - torn) : sizeof start;
    rc = read_at(fd, path, start, len, torn, err);
    if (rc < 0) {
        return rc;
    }
    if (!is_ours(start, len)) {
        return ph_fail(err, PH_E_CONFIG,
                       "%s ends in the middle of a line that is not ours: give another path, or "
                       "end that line",
                       path);
    }
    if (ftruncate(fd, (off_t)torn) < 0 || fsync(fd) < 0) {
        return fail_errno(path, errno, err);
    }
    *ret_cut = *size - torn;
    *size = torn;
    return 0;
}

int ph__file_open(const char *path, int *ret_fd, int64_t *ret_size, int64_t *ret_cut,
                  struct ph_error *err)
{
    assert(path && ret_fd && ret_size && ret_cut);
    PH_CLEANUP(ph_cleanup_fd) int fd = -1;
    int rc = 0;
    for (int tries = 0; rc == 0; tries++) {
        if (tries == OPEN_TRIES) {
            return ph_fail(err, PH_E_UNAVAILABLE, "%s is being renamed again and again", path);
        }
        rc = open_once(path, &fd, err);
    }
    struct stat stat = {0};
    if (rc == 1 && fstat(fd, &stat) < 0) {
        rc = fail_errno(path, errno, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret_size = (int64_t)stat.st_size;
    rc = repair(fd, path, ret_size, ret_cut, err);
    if (rc < 0) {
        return rc;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* --- the folder ------------------------------------------------------------------------------- */

/* The folder part of path, "." when it has none. */
static void folder_of(const char *path, char out[PH_FILE_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 1;
    const char *from = slash ? path : ".";
    len = len == 0 ? 1 : len; /* the root itself */
    memcpy(out, from, len);
    out[len] = '\0';
}

int ph__file_sync_folder(const char *path, struct ph_error *err)
{
    char folder[PH_FILE_PATH_MAX];
    folder_of(path, folder);
    PH_CLEANUP(ph_cleanup_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL)) {
        return fail_errno(folder, errno, err);
    }
    return 0;
}

/* The N of a name BASE.N, without zeros in front; 0 when it is none. */
static uint64_t number_of(struct ph_str base, const char *name)
{
    uint64_t number = 0;
    struct ph_str text = ph_str_from(name);
    if (text.len < base.len + 2 || !ph_str_starts(text, base) || text.ptr[base.len] != '.') {
        return 0;
    }
    struct ph_str digits = {text.ptr + base.len + 1, text.len - base.len - 1};
    return digits.ptr[0] != '0' && ph_str_u64(digits, &number) ? number : 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static int add_number(uint64_t **numbers, size_t *count, size_t *room, uint64_t number,
                      struct ph_error *err)
{
    if (*count == *room) {
        size_t more = *room ? *room * 2 : 64;
        uint64_t *bigger =
            *count < PH_FILE_ROTATED_MAX ? ph_mem_resize(*numbers, more * sizeof *bigger) : NULL;
        if (!bigger) {
            return ph_fail(err, PH_E_NOMEM, "no memory, or more than %d rotated files",
                           PH_FILE_ROTATED_MAX);
        }
        *numbers = bigger;
        *room = more;
    }
    (*numbers)[(*count)++] = number;
    return 0;
}

int ph__file_rotated(const char *path, uint64_t **ret, size_t *ret_count, struct ph_error *err)
{
    assert(path && ret && ret_count);
    char folder[PH_FILE_PATH_MAX];
    folder_of(path, folder);
    PH_CLEANUP(ph_cleanup_folder) DIR *dir = opendir(folder);
    if (!dir) {
        return fail_errno(folder, errno, err);
    }
    const char *slash = strrchr(path, '/');
    struct ph_str base = ph_str_from(slash ? slash + 1 : path);
    PH_CLEANUP(ph_cleanup_mem) uint64_t *numbers = NULL;
    size_t count = 0, room = 0;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(dir)); errno = 0) {
        uint64_t number = number_of(base, entry->d_name);
        int rc = number > 0 ? add_number(&numbers, &count, &room, number, err) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    if (errno != 0) {
        return fail_errno(folder, errno, err);
    }
    if (count > 0) {
        qsort(numbers, count, sizeof *numbers, compare_numbers);
    }
    *ret = numbers;
    *ret_count = count;
    numbers = NULL;
    return 0;
}

int ph__file_rotated_name(const char *path, uint64_t number, char out[PH_FILE_PATH_MAX],
                          struct ph_error *err)
{
    int len = snprintf(out, PH_FILE_PATH_MAX, "%s.%" PRIu64, path, number);
    if (len < 0 || len >= PH_FILE_PATH_MAX) {
        return ph_fail(err, PH_E_CONFIG, "%s: the path is too long", path);
    }
    return 0;
}
