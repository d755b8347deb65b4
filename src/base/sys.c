/*
 * The table behind which allocation, clocks, randomness, waits and threads sit, filled with the
 * real ones, and the memory calls that go through it. A request for no bytes is one for one byte,
 * so that NULL always means "no memory".
 */
#include "base/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);
    assert(rc == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

static int64_t real_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

/* Straight from the kernel: no state to share between threads or to repeat after fork(). So few
 * bytes are never cut short; without them there are no safe ids, and the program ends. */
static uint64_t kernel_u64(void)
{
    uint64_t value = 0;
    ssize_t got;
    do {
        got = getrandom(&value, sizeof value, 0);
    } while (got < 0 && errno == EINTR);
    assert(got == (ssize_t)sizeof value);
    return value;
}

static int start_thread(pthread_t *ret, void *(*run)(void *arg), void *arg)
{
    return pthread_create(ret, NULL, run, arg);
}

static void join_thread(pthread_t thread)
{
    int rc = pthread_join(thread, NULL);
    assert(rc == 0);
}

struct ph_sys ph_sys = {
    .alloc = malloc,
    .resize = realloc,
    .release = free,
    .mono_us = boot_us,
    .wall_us = real_us,
    .random_u64 = kernel_u64,
    .poll = poll,
    .thread_start = start_thread,
    .thread_join = join_thread,
};

void *ph_mem_alloc(size_t size)
{
    return ph_sys.alloc(size ? size : 1);
}

void *ph_mem_zero(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    total = total ? total : 1;
    void *ptr = ph_mem_alloc(total);
    if (ptr) {
        memset(ptr, 0, total);
    }
    return ptr;
}

void *ph_mem_resize(void *ptr, size_t size)
{
    return ph_sys.resize(ptr, size ? size : 1);
}

void ph_mem_free(void *ptr)
{
    if (ptr) {
        ph_sys.release(ptr);
    }
}

char *ph_mem_strdup(const char *text)
{
    assert(text);
    size_t size = strlen(text) + 1;
    char *copy = ph_mem_alloc(size);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}
