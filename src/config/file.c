/*
 * Reads small files whole.
 * Place: below config.c and secret.c, at the start and in a running daemon's reload.
 * Promise: whatever the path is, a FIFO that nobody writes to included, it ends within seconds: the
 * thread that reads also hears signals and feeds the watchdog.
 */
#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int fail(const char *path, int why, struct ph_error *err)
{
    return ph_fail(err, PH_E_CONFIG, "%s cannot be read: %s", path, strerrordesc_np(why));
}

/* Waits for a byte: 0, or an errno. */
static int await(int fd, int64_t end_us)
{
    int64_t left_us = end_us - ph_clock_mono_us();
    struct pollfd fds = {.fd = fd, .events = POLLIN};
    int ready = left_us > 0 ? poll(&fds, 1, (int)(left_us / 1000 + 1)) : 0;
    if (ready < 0 && errno != EINTR) {
        return errno;
    }
    return ready == 0 ? ETIMEDOUT : 0;
}

static int read_fd(int fd, const char *path, size_t max, struct ph_buf *out, struct ph_error *err)
{
    int64_t end_us = ph_clock_mono_us() + PH_CONFIG_FILE_WAIT_MS * INT64_C(1000);
    char bytes[16384];
    for (size_t left = max; left > 0;) {
        ssize_t got = read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            ph_buf_put(out, bytes, (size_t)got);
            left -= (size_t)got;
            continue;
        }
        int why = errno == EAGAIN ? await(fd, end_us) : errno;
        if (why != 0 && why != EINTR) {
            return fail(path, why, err);
        }
    }
    return ph_buf_check(out, path, err);
}

int ph_config_file_read(const char *path, size_t max, struct ph_buf *out, mode_t *ret_mode,
                        struct ph_error *err)
{
    struct stat st;
    PH_CLEANUP(ph_cleanup_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return fail(path, errno, err);
    }
    if (S_ISDIR(st.st_mode)) {
        return fail(path, EISDIR, err);
    }
    if (ret_mode) {
        *ret_mode = st.st_mode;
    }
    return read_fd(fd, path, max, out, err);
}
