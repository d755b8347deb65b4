/*
 * For test_clock.py, loaded in front of libfaketime: a C11 wait until a wall clock time, which
 * libfaketime does not know of and librdkafka waits by. Promise: it ends when the faked clock has
 * reached that time, however that clock jumped meanwhile, as a wait in the kernel does by the real
 * one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define SLICE_NS  20000000LL
#define SECOND_NS 1000000000LL

static long long ns_of(const struct timespec *time)
{
    return time->tv_sec * SECOND_NS + time->tv_nsec;
}

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until)
{
    for (;;) {
        struct timespec now, end;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        long long left = ns_of(until) - ns_of(&now);
        if (left <= 0) {
            return thrd_timedout;
        }
        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        long long end_ns = ns_of(&end) + (left < SLICE_NS ? left : SLICE_NS);
        end = (struct timespec){end_ns / SECOND_NS, end_ns % SECOND_NS};
        int rc = pthread_cond_clockwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex,
                                        CLOCK_MONOTONIC, &end);
        if (rc != ETIMEDOUT) {
            return rc == 0 ? thrd_success : thrd_error;
        }
    }
}
