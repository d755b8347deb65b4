/* Exponential backoff with full jitter. */
#ifndef PH_CORE_RETRY_H
#define PH_CORE_RETRY_H

#include <stdint.h>

struct ph_backoff {
    int64_t initial_ms, max_ms; /* bounds of the ceiling */
    int64_t multiplier;         /* of the ceiling, with each attempt; 0: 2 */
    unsigned attempt;
};

/* How long to wait before the next attempt, in ms: uniform between a tenth of the ceiling and the
 * ceiling. */
int64_t ph_backoff_next(struct ph_backoff *backoff);
/* After a success. */
void ph_backoff_reset(struct ph_backoff *backoff);

#endif
