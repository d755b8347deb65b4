/*
 * The stdout sink: events as lines of NDJSON, for pipes, terminals and redirection. Nothing is
 * synced: SENT means that the system took the line.
 * Place: fd is -1; a poll(0) completes all that the reader of stdout has room for.
 * Promise: a poll waits no longer than it may, also when nobody reads; lines are written whole,
 * also the one that an abandon cuts into; a closed stdout ends the pipeline, it can never come
 * back; a full disk behind it ends it with --once.
 */
#include "core/sink.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "sink/ndjson.h"

#define FILL_BYTES ((size_t)64 * 1024)
#define PIPE_BYTES ((size_t)4096) /* a pipe that poll() calls writable takes as much */

struct stdout_sink {
    bool is_file;   /* never blocks */
    size_t written; /* of the feed's lines */
    struct ph_feed feed;
};

static int fail_write(int code, struct ph_error *err)
{
    if (code == EPIPE || code == EBADF) {
        return ph_fail(err, PH_E_CONFIG, "stdout is closed: nobody reads it any more");
    }
    return ph_fail(err, PH_E_IO, "stdout: %s", strerrordesc_np(code));
}

/* Whether a write would not wait, asked for at most timeout_ms: 1, 0. */
static int may_write(const struct stdout_sink *s, int timeout_ms)
{
    struct pollfd waited = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return s->is_file || poll(&waited, 1, timeout_ms) > 0;
}

/* Writes once: 1 when something was taken, 0 when it would have to wait. */
static int write_once(struct stdout_sink *s, int timeout_ms, struct ph_error *err)
{
    if (!may_write(s, timeout_ms)) {
        return 0;
    }
    size_t left = s->feed.lines.len - s->written;
    size_t len = s->is_file || left < PIPE_BYTES ? left : PIPE_BYTES;
    ssize_t got = write(STDOUT_FILENO, s->feed.lines.ptr + s->written, len);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return 0;
    }
    if (got <= 0) {
        return fail_write(got < 0 ? errno : EIO, err);
    }
    s->written += (size_t)got;
    return 1;
}

/* Part of a line is written, the rest of it not. */
static bool is_inside(const struct stdout_sink *s)
{
    const struct ph_buf *lines = &s->feed.lines;
    return s->written > 0 && s->written < lines->len && lines->ptr[s->written - 1] != '\n';
}

/* Keeps nothing but the rest of a line that was begun. */
static void keep_begun(struct stdout_sink *s)
{
    struct ph_buf *lines = &s->feed.lines;
    if (!is_inside(s)) {
        s->written = 0;
        ph_feed_written(&s->feed);
        return;
    }
    const char *end = memchr(lines->ptr + s->written, '\n', lines->len - s->written);
    assert(end);
    lines->len = (size_t)(end - lines->ptr) + 1;
    lines->ptr[lines->len] = '\0';
}

static void sink_close(void *ctx)
{
    struct stdout_sink *s = ctx;
    if (s) {
        keep_begun(s);
        while (s->written < s->feed.lines.len && write_once(s, 0, NULL) > 0) {
        }
        ph_feed_free(&s->feed);
        ph_mem_free(s);
    }
}

static int sink_open(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err)
{
    (void)config;
    assert(env && ret_ctx);
    struct stat stat;
    if (fstat(STDOUT_FILENO, &stat) < 0) {
        return fail_write(errno, err);
    }
    struct stdout_sink *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "stdout sink: no memory");
    }
    s->is_file = S_ISREG(stat.st_mode);
    int rc = ph_feed_init(&s->feed, env->window_batches, err);
    if (rc < 0) {
        sink_close(s);
        return rc;
    }
    *ret_ctx = s;
    return 0;
}

static int sink_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    (void)err;
    struct stdout_sink *s = ctx;
    ph_feed_submit(&s->feed, batch);
    return 0;
}

/* Puts lines until there is a good deal to write; 0 or PH_E_NOMEM. */
static int fill(struct stdout_sink *s, struct ph_error *err)
{
    int rc = 1;
    while (rc == 1 && s->feed.lines.len < FILL_BYTES) {
        rc = ph_feed_put(&s->feed, err);
    }
    return rc < 0 ? rc : 0;
}

static int sink_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct stdout_sink *s = ctx;
    for (;;) {
        int rc = s->feed.lines.len == 0 ? fill(s, err) : 0;
        if (rc < 0 && s->feed.lines.len == 0) {
            return rc;
        }
        while (s->written < s->feed.lines.len) {
            rc = write_once(s, timeout_ms, err);
            if (rc <= 0) {
                return rc;
            }
            timeout_ms = 0;
        }
        bool all = s->feed.lines.len == 0;
        s->written = 0;
        ph_feed_written(&s->feed);
        ph_feed_sent(&s->feed);
        if (all) {
            return 0;
        }
    }
}

static int sink_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

/* The rest of a line that was begun stays in front of what comes next. */
static void sink_abandon(void *ctx)
{
    struct stdout_sink *s = ctx;
    ph_feed_forget(&s->feed);
    keep_begun(s);
}

static const struct ph_option stdout_options[] = {PH_OPTION_END};

const struct ph_sink_driver ph_sink_stdout = {
    .name = "stdout",
    .summary = "lines of JSON on stdout: stdout:",
    .options = stdout_options,
    .caps = PH_SINK_WATCHED,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = sink_open,
    .submit = sink_submit,
    .poll = sink_poll,
    .fd = sink_fd,
    .abandon = sink_abandon,
    .close = sink_close,
};
