/* Randomness for jitter and ids. */
#ifndef PH_BASE_RAND_H
#define PH_BASE_RAND_H

#include <stdint.h>

/* 64 random bits. */
uint64_t ph_rand_u64(void);
/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t ph_rand_below(uint64_t bound);

#endif
