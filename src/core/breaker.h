/*
 * The circuit breaker in front of a sink: closed while it works, open while it is down, half-open
 * while one attempt asks whether it is back. breaker.c has the table of transitions.
 */
#ifndef PH_CORE_BREAKER_H
#define PH_CORE_BREAKER_H

#include <stdbool.h>

#include "core/retry.h"

enum ph_breaker_state { PH_BREAKER_CLOSED, PH_BREAKER_OPEN, PH_BREAKER_HALF_OPEN };

struct ph_breaker {
    enum ph_breaker_state state;
    struct ph_backoff backoff;
    int64_t due_us; /* while open: when to ask */
};

/* The sink did what it was asked; true when it was down before. */
bool ph_breaker_worked(struct ph_breaker *breaker);
/* The sink is down: waits, each time longer; true when it was not down before. */
bool ph_breaker_failed(struct ph_breaker *breaker);
/* Whether the sink may be asked now. An open breaker whose time has come turns half-open. */
bool ph_breaker_allows(struct ph_breaker *breaker);
/* The sink may have something to say: an open breaker need not wait any longer. */
void ph_breaker_hint(struct ph_breaker *breaker);

#endif
