/*
 * The wish to stop: a flag for those who look and an eventfd for those who sleep in poll(). Nobody
 * reads the eventfd, so once readable it stays so and wakes every waiter, however many there are.
 */
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

int ph_stop_init(struct ph_stop *stop, struct ph_error *err)
{
    assert(stop);
    atomic_init(&stop->wanted, false);
    stop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop->fd < 0) {
        return ph_fail(err, PH_E_IO, "eventfd: %s", strerrordesc_np(errno));
    }
    return 0;
}

void ph_stop_free(struct ph_stop *stop)
{
    if (stop && stop->fd >= 0) {
        (void)close(stop->fd);
        stop->fd = -1;
    }
}

void ph_stop_request(struct ph_stop *stop)
{
    int saved = errno;
    uint64_t one = 1;
    atomic_store_explicit(&stop->wanted, true, memory_order_release);
    ssize_t written = write(stop->fd, &one, sizeof one);
    (void)written; /* it can only fail when the counter is full, and then it is readable */
    errno = saved;
}

/* Whole milliseconds until the deadline, rounded up, between 0 and max_ms. */
static int left_until(int64_t deadline_us, int max_ms)
{
    int64_t left_ms = (deadline_us - ph_clock_mono_us() + 999) / 1000;
    return left_ms < 0 ? 0 : left_ms > max_ms ? max_ms : (int)left_ms;
}

bool ph_stop_wait(struct ph_stop *stop, int timeout_ms)
{
    assert(stop || timeout_ms >= 0);
    struct pollfd waited = {.fd = stop ? stop->fd : -1, .events = POLLIN};
    int64_t deadline_us = ph_clock_mono_us() + (int64_t)timeout_ms * 1000;
    int left_ms = timeout_ms;
    while (left_ms != 0 && !(stop && ph_stop_wanted(stop))) {
        if (ph_sys.poll(&waited, 1, left_ms) >= 0 || errno != EINTR) {
            break;
        }
        left_ms = timeout_ms < 0 ? timeout_ms : left_until(deadline_us, timeout_ms);
    }
    return stop && ph_stop_wanted(stop);
}
