/*
 * Random numbers for jitter and ids, drawn through the replaceable table so that a test can replay
 * a seed. Promise: a bounded number of draws, also from a table that always answers the same.
 */
#include "base/rand.h"

#include "base/sys.h"

#define DRAWS_MAX 64

__extension__ typedef unsigned __int128 u128;

uint64_t ph_rand_u64(void)
{
    return ph_sys.random_u64();
}

/* The high half of draw * bound is uniform once the 2^64 mod bound lowest low halves are refused.
 */
uint64_t ph_rand_below(uint64_t bound)
{
    if (bound == 0) {
        return 0;
    }
    uint64_t refused = (0 - bound) % bound;
    u128 product = 0;
    for (int draw = 0; draw < DRAWS_MAX; draw++) {
        product = (u128)ph_rand_u64() * bound;
        if ((uint64_t)product >= refused) {
            break;
        }
    }
    return (uint64_t)(product >> 64);
}
