/* A wish to stop that wakes poll(): set from any thread or a signal handler, seen by all. */
#ifndef PH_BASE_THREAD_H
#define PH_BASE_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct ph_stop {
    atomic_bool wanted;
    int fd; /* an eventfd, readable once stop is wanted; poll() it */
};

int ph_stop_init(struct ph_stop *stop, struct ph_error *err) PH_MUST_CHECK;
void ph_stop_free(struct ph_stop *stop);
/* Async-signal-safe. */
void ph_stop_request(struct ph_stop *stop);
static inline bool ph_stop_wanted(struct ph_stop *stop)
{
    return atomic_load_explicit(&stop->wanted, memory_order_acquire);
}
/* Waits until stop is wanted or timeout_ms is over; true when stop is wanted. stop may be NULL:
 * then it sleeps. A negative timeout has no end and needs a stop. */
bool ph_stop_wait(struct ph_stop *stop, int timeout_ms);

#endif
