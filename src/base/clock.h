/* Time. Deadlines and waits use mono (CLOCK_BOOTTIME), never the wall clock. */
#ifndef PH_BASE_CLOCK_H
#define PH_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of CLOCK_BOOTTIME; of 1970-01-01 UTC. */
int64_t ph_clock_mono_us(void);
int64_t ph_clock_wall_us(void);

#define PH_TIME_TEXT_LEN 27 /* 2026-11-21T04:28:09.123456Z */

/* Writes wall-clock microseconds since 1970 as ISO 8601 UTC with microseconds, PH_TIME_TEXT_LEN
 * characters, and a '\0'. Years 0001 to 9999; anything outside is clamped. */
void ph_time_format(int64_t wall_us, char out[PH_TIME_TEXT_LEN + 1]);

#endif
