/* The circuit breaker: one table, no waiting of its own. */
#include "core/breaker.h"

#include "base/clock.h"

enum input { WORKED, FAILED, DUE };

/* next[state][input] */
static const enum ph_breaker_state next[3][3] = {
    [PH_BREAKER_CLOSED] =
        {[WORKED] = PH_BREAKER_CLOSED, [FAILED] = PH_BREAKER_OPEN, [DUE] = PH_BREAKER_CLOSED},
    [PH_BREAKER_OPEN] =
        {[WORKED] = PH_BREAKER_CLOSED, [FAILED] = PH_BREAKER_OPEN, [DUE] = PH_BREAKER_HALF_OPEN},
    [PH_BREAKER_HALF_OPEN] =
        {[WORKED] = PH_BREAKER_CLOSED, [FAILED] = PH_BREAKER_OPEN, [DUE] = PH_BREAKER_HALF_OPEN},
};

static bool move(struct ph_breaker *breaker, enum input input)
{
    bool was_closed = breaker->state == PH_BREAKER_CLOSED;
    breaker->state = next[breaker->state][input];
    return was_closed != (breaker->state == PH_BREAKER_CLOSED);
}

bool ph_breaker_worked(struct ph_breaker *breaker)
{
    bool back = move(breaker, WORKED);
    if (back) {
        ph_backoff_reset(&breaker->backoff);
    }
    return back;
}

bool ph_breaker_failed(struct ph_breaker *breaker)
{
    bool down = move(breaker, FAILED);
    breaker->due_us = ph_clock_mono_us() + ph_backoff_next(&breaker->backoff) * 1000;
    return down;
}

bool ph_breaker_allows(struct ph_breaker *breaker)
{
    if (breaker->state == PH_BREAKER_OPEN && ph_clock_mono_us() >= breaker->due_us) {
        (void)move(breaker, DUE);
    }
    return breaker->state != PH_BREAKER_OPEN;
}

void ph_breaker_hint(struct ph_breaker *breaker)
{
    breaker->due_us = 0;
}
