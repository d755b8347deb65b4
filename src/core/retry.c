/*
 * Exponential backoff with jitter: how long to wait before the next attempt. Whoever waits does the
 * waiting. Promise: never shorter than a tenth of the ceiling, never longer than max_ms, at least
 * 1 ms, for any number of attempts.
 */
#include "core/retry.h"

#include <assert.h>
#include <limits.h>

#include "base/rand.h"

/* initial_ms multiplied attempt times, at most max_ms. */
static int64_t ceiling_ms(const struct ph_backoff *backoff)
{
    int64_t ceiling = backoff->initial_ms > 0 ? backoff->initial_ms : 1;
    int64_t factor = backoff->multiplier > 0 ? backoff->multiplier : 2;
    for (unsigned i = 0; factor > 1 && i < backoff->attempt && ceiling < backoff->max_ms; i++) {
        ceiling = ceiling > backoff->max_ms / factor ? backoff->max_ms : ceiling * factor;
    }
    return ceiling < backoff->max_ms ? ceiling : backoff->max_ms;
}

int64_t ph_backoff_next(struct ph_backoff *backoff)
{
    assert(backoff && backoff->max_ms > 0);
    int64_t ceiling = ceiling_ms(backoff);
    int64_t floor = ceiling / 10 > 0 ? ceiling / 10 : 1;
    backoff->attempt += backoff->attempt < UINT_MAX;
    return floor + (int64_t)ph_rand_below((uint64_t)(ceiling - floor) + 1);
}

void ph_backoff_reset(struct ph_backoff *backoff)
{
    assert(backoff);
    backoff->attempt = 0;
}
