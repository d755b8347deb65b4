/*
 * The one replaceable table behind which allocation, clocks, randomness, waits and threads sit, so
 * that tests can fail the n-th allocation, stop the clock, replay a seed or choose who runs next.
 */
#ifndef PH_BASE_SYS_H
#define PH_BASE_SYS_H

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct ph_sys {
    void *(*alloc)(size_t size);
    void *(*resize)(void *ptr, size_t size);
    void (*release)(void *ptr);
    int64_t (*mono_us)(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
    int64_t (*wall_us)(void); /* microseconds since 1970-01-01 UTC */
    uint64_t (*random_u64)(void);
    /* poll(2), the only way in which the core waits: for descriptors, or with none for time. */
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    /* Starts a thread of the core: 0 or an errno; and waits for its end. */
    int (*thread_start)(pthread_t *ret, void *(*run)(void *arg), void *arg);
    void (*thread_join)(pthread_t thread);
};

/* The table in force. Replace its members before the first thread starts; never later. */
extern struct ph_sys ph_sys;

/* Memory through the table. ph_mem_alloc and ph_mem_resize return NULL when there is none;
 * ph_mem_zero also clears. ph_mem_free accepts NULL. */
void *ph_mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *ph_mem_zero(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
void *ph_mem_resize(void *ptr, size_t size) __attribute__((warn_unused_result));
void ph_mem_free(void *ptr);
/* A copy of a string, NULL when there is no memory. The caller frees it with ph_mem_free. */
char *ph_mem_strdup(const char *text) __attribute__((malloc, warn_unused_result));

#endif
