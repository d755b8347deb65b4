/*
 * Which keys wait: a count of queued rows a key, and the gaps that nobody was told of. Holds the
 * 64-bit hash of a key only; two keys of one hash wait for each other, which costs time and breaks
 * nothing. 16 bytes a key at half load. One thread.
 */
#ifndef PH_CORE_HOLD_H
#define PH_CORE_HOLD_H

#include "core/park.h"

struct ph_hold_entry {
    uint64_t hash;
    uint32_t rows;
    uint32_t gap; /* 1 + the index in gaps of its newest; 0: none */
};

struct ph_hold_gap {
    struct ph_gap gap;
    uint32_t next; /* of the key, the next older one: 1 + its index; 0: none */
};

/* Zero-initialise it. */
struct ph_hold {
    struct ph_hold_entry *entries; /* open addressing; rows 0 and gap 0: free */
    size_t room, used;             /* room is a power of two */
    struct ph_hold_gap *gaps;
    size_t gap_count, gap_room;
    uint32_t gap_free; /* 1 + the index of a gap that is not used; 0: none */
};

void ph_hold_free(struct ph_hold *hold);
/* Forgets everything, keeps the room. */
void ph_hold_clear(struct ph_hold *hold);

static inline bool ph_hold_empty(const struct ph_hold *hold)
{
    return hold->used == 0;
}

/* Counts rows of a key; ptr NULL is no key. PH_E_NOMEM changes nothing. */
int ph_hold_add(struct ph_hold *hold, struct ph_str key, uint32_t rows,
                struct ph_error *err) PH_MUST_CHECK;
/* Takes one row of a key away; a key without rows stays as it is. */
void ph_hold_take(struct ph_hold *hold, struct ph_str key);
/* Whether a key has rows. */
bool ph_hold_has(const struct ph_hold *hold, struct ph_str key);

/* Remembers that an event of the key was passed. */
int ph_hold_put_gap(struct ph_hold *hold, struct ph_str key, const struct ph_gap *gap,
                    struct ph_error *err) PH_MUST_CHECK;
/* Takes the key's newest gap up to a place in the log; false when it has none there. */
bool ph_hold_take_gap(struct ph_hold *hold, struct ph_str key, struct ph_position at,
                      struct ph_gap *ret);

#endif
