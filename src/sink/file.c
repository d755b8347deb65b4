/*
 * The file sink: events as lines of NDJSON, rotated by size. submit only takes a batch; poll writes
 * all there is, syncs once and gives the verdicts, so poll(0) completes everything and fd is -1
 * without making anybody wait.
 * A full file PATH becomes PATH.1, the next one PATH.2: a higher number is newer, PATH is the
 * newest. No name is ever used twice while its file is there.
 * Promise: SENT means that the line is on the disk; when the disk fails the file is cut back to
 * what was SENT and the rest is written again at a later poll; one sink writes a file at a time.
 */
#include "sink/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "sink/ndjson.h"

#define FLUSH_BYTES  ((size_t)256 * 1024)
#define RENAME_TRIES 100

_Static_assert(FLUSH_BYTES <= (size_t)1 << 20, "the feed takes lines behind at most 1 MiB");

struct file_sink {
    const struct ph_sink_env *env;
    struct ph_file_config config;
    const char *path;
    int fd;       /* -1 after a rotation that could not make the next file */
    int64_t size; /* what was written, the last of it perhaps not synced */
    int64_t good; /* what was synced and SENT; never cut off */
    bool torn;    /* there is more behind good than there should be */
    struct ph_feed feed;
};

static int fail_io(const struct file_sink *s, const char *call, int code, struct ph_error *err)
{
    return ph_fail(err, PH_E_IO, "%s: %s: %s", s->path, call, strerrordesc_np(code));
}

/* --- open, close ------------------------------------------------------------------------------ */

static void warn_of_cut(const struct file_sink *s, int64_t cut)
{
    if (cut > 0 && s->env->warn) {
        char text[PH_FILE_PATH_MAX + 128];
        (void)snprintf(text, sizeof text,
                       "%s: cut off %" PRId64 " bytes of a last line that a crash had torn; its "
                       "event comes again",
                       s->path, cut);
        s->env->warn(s->env->pipeline, text);
    }
}

/* Opens PATH, made when there is none. */
static int open_file(struct file_sink *s, struct ph_error *err)
{
    int fd = -1;
    int64_t size = 0, cut = 0;
    int rc = ph__file_open(s->path, &fd, &size, &cut, err);
    if (rc == 0 && s->config.fsync) {
        rc = ph__file_sync_folder(s->path, err);
    }
    if (rc < 0) {
        ph_cleanup_fd(&fd);
        return rc;
    }
    warn_of_cut(s, cut);
    s->fd = fd;
    s->size = s->good = size;
    s->torn = false;
    return 0;
}

static void sink_close(void *ctx)
{
    struct file_sink *s = ctx;
    if (s) {
        ph_cleanup_fd(&s->fd);
        ph_feed_free(&s->feed);
        ph_mem_free(s);
    }
}

PH_DEFINE_CLEANUP(sink, struct file_sink *, sink_close);

static int sink_open(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err)
{
    assert(env && config && ret_ctx);
    PH_CLEANUP(ph_cleanup_sink) struct file_sink *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "file sink: no memory");
    }
    s->env = env;
    s->config = *(const struct ph_file_config *)config;
    s->fd = -1;
    int rc = ph_feed_init(&s->feed, env->window_batches, err);
    if (rc == 0) {
        rc = ph__file_path(env->uri, &s->path, err);
    }
    if (rc == 0) {
        rc = open_file(s, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret_ctx = s;
    s = NULL;
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int write_lines(struct file_sink *s, struct ph_error *err)
{
    const char *at = s->feed.lines.ptr;
    size_t left = s->feed.lines.len;
    while (left > 0) {
        ssize_t written = pwrite(s->fd, at, left, (off_t)s->size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail_io(s, "write", written < 0 ? errno : EIO, err);
        }
        at += written;
        left -= (size_t)written;
        s->size += written;
    }
    ph_feed_written(&s->feed);
    return 0;
}

/* Writes and syncs what was put, and gives the verdicts. */
static int commit(struct file_sink *s, struct ph_error *err)
{
    int rc = write_lines(s, err);
    while (rc == 0 && s->size > s->good && s->config.fsync && fdatasync(s->fd) < 0) {
        rc = errno == EINTR ? 0 : fail_io(s, "fdatasync", errno, err);
    }
    if (rc < 0) {
        return rc;
    }
    s->good = s->size;
    ph_feed_sent(&s->feed);
    return 0;
}

/* Takes the file and the feed back to what was SENT. */
static void roll_back(struct file_sink *s)
{
    ph_feed_rewind(&s->feed);
    s->torn = s->fd >= 0 && s->size > s->good && ftruncate(s->fd, (off_t)s->good) < 0;
    s->size = s->good;
}

/* After a failure: the file is open and ends where it should. */
static int make_ready(struct file_sink *s, struct ph_error *err)
{
    if (s->fd < 0) {
        return open_file(s, err);
    }
    if (s->torn && ftruncate(s->fd, (off_t)s->good) < 0) {
        return fail_io(s, "truncate", errno, err);
    }
    s->torn = false;
    return 0;
}

/* --- rotation --------------------------------------------------------------------------------- */

/* Renames without replacing, also on file systems that cannot do it in one step. */
static int rename_new(const char *from, const char *to)
{
    int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) {
        rc = link(from, to);
        return rc < 0 ? rc : unlink(from);
    }
    return rc;
}

/* Gives PATH its number: the one behind the highest there is. */
static int rename_full(const struct file_sink *s, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_mem) uint64_t *numbers = NULL;
    size_t count = 0;
    int rc = ph__file_rotated(s->path, &numbers, &count, err);
    uint64_t number = rc == 0 && count > 0 ? numbers[count - 1] : 0;
    for (int tries = 0; rc == 0 && tries < RENAME_TRIES; tries++) {
        char name[PH_FILE_PATH_MAX];
        rc = ph__file_rotated_name(s->path, ++number, name, err);
        if (rc < 0 || rename_new(s->path, name) == 0) {
            return rc;
        }
        if (errno == ENOENT) {
            return 0; /* somebody else took it away: as good as rotated */
        }
        if (errno != EEXIST) {
            return fail_io(s, "rename", errno, err);
        }
    }
    return rc < 0 ? rc : ph_fail(err, PH_E_IO, "%s: no free name to rotate to", s->path);
}

/* Begins a new file once the present one has the size for it and all in it is SENT. */
static int rotate(struct file_sink *s, struct ph_error *err)
{
    int rc = commit(s, err);
    if (rc == 0) {
        rc = rename_full(s, err);
    }
    if (rc < 0) {
        return rc;
    }
    ph_cleanup_fd(&s->fd);
    s->fd = -1;
    return open_file(s, err);
}

static bool is_full(struct file_sink *s)
{
    return s->config.rotate_size > 0 &&
           s->size + (int64_t)s->feed.lines.len >= s->config.rotate_size && ph_feed_more(&s->feed);
}

/* --- driver ----------------------------------------------------------------------------------- */

static int sink_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    (void)err;
    struct file_sink *s = ctx;
    ph_feed_submit(&s->feed, batch);
    return 0;
}

/* Writes all there is. */
static int write_all(struct file_sink *s, struct ph_error *err)
{
    int rc = make_ready(s, err);
    while (rc == 0) {
        if (is_full(s)) {
            rc = rotate(s, err);
        }
        int put = rc == 0 ? ph_feed_put(&s->feed, err) : rc;
        if (put == 0) {
            return commit(s, err);
        }
        rc = put < 0 ? put : 0;
        if (rc == 0 && s->feed.lines.len >= FLUSH_BYTES) {
            rc = write_lines(s, err);
        }
    }
    return rc;
}

static int sink_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    (void)timeout_ms; /* a disk answers at once or fails */
    struct file_sink *s = ctx;
    if (s->feed.count == 0) {
        return 0;
    }
    int rc = write_all(s, err);
    if (rc < 0) {
        roll_back(s);
    }
    return rc;
}

static int sink_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static void sink_abandon(void *ctx)
{
    struct file_sink *s = ctx;
    ph_feed_forget(&s->feed);
}

#define AT(member) offsetof(struct ph_file_config, member)

static const struct ph_option file_options[] = {
    {"rotate_size", PH_OPT_SIZE, AT(rotate_size), "0", 0, 0, NULL,
     "begin a new file once the present one has this size; 0: never"},
    {"fsync", PH_OPT_BOOL, AT(fsync), "true", 0, 0, NULL,
     "have the disk confirm each batch; without it a crash of the machine may lose events"},
    PH_OPTION_END,
};

const struct ph_sink_driver ph_sink_file = {
    .name = "file",
    .summary = "lines of JSON in a file: file:PATH",
    .options = file_options,
    .config_size = sizeof(struct ph_file_config),
    .caps = 0,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = sink_open,
    .submit = sink_submit,
    .poll = sink_poll,
    .fd = sink_fd,
    .abandon = sink_abandon,
    .close = sink_close,
    .scan = ph_file_scan,
};
