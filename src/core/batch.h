/*
 * A batch: a run of events in delivery order, the arena they live in, and how much of it is
 * settled. One batch belongs to one pipeline thread; a sink holds a pointer to it from submit until
 * its last verdict or abandon.
 */
#ifndef PH_CORE_BATCH_H
#define PH_CORE_BATCH_H

#include "base/arena.h"
#include "core/event.h"

struct ph_batch {
    struct ph_arena arena;
    struct ph_event *events; /* room for cap; the array outlives the arena's resets */
    size_t count, cap;
    size_t bytes;   /* of payloads and headers, for bounds */
    size_t judged;  /* events that are not PENDING */
    size_t settled; /* events with SENT or PARKED */
    size_t parked;  /* those with PARKED */
    size_t refused; /* events with RETRY or REJECT */
    size_t owing;   /* events of which the source must still be told */
    size_t prefix;  /* events settled without a gap from the start; kept by ph_batch_settle */
    bool routed;    /* by the pipeline */
    bool submitted; /* the sink has it */
    bool due;       /* its events come from parked rows: no checkpoint is behind them */
    bool has_end;   /* end is known: this is the checkpoint when all its events are settled */
    struct ph_checkpoint end; /* texts in the arena */
    uint64_t generation;   /* changes with every reuse; a verdict of another generation is void */
    struct ph_batch *next; /* the next batch in flight, in order */
};

/* A batch for up to cap events whose arena holds at most bytes_max bytes. NULL when out of memory.
 */
struct ph_batch *ph_batch_new(size_t cap, size_t bytes_max);
void ph_batch_free(struct ph_batch *batch);
/* Empties it for reuse under a new generation. */
void ph_batch_reset(struct ph_batch *batch);

/* Room for one more event, cleared; NULL when the batch is full. */
struct ph_event *ph_batch_add(struct ph_batch *batch);

/* The sink's word on one event. Each event gets at most one verdict other than PENDING per submit.
 * cause may be NULL; it is copied into the arena. */
void ph_batch_verdict(struct ph_batch *batch, struct ph_event *event, enum ph_verdict verdict,
                      const char *cause);

/* Moves prefix over the settled events; true when it moved. */
bool ph_batch_settle(struct ph_batch *batch);
/* All events are settled, and the source knows what it must. */
static inline bool ph_batch_done(const struct ph_batch *batch)
{
    return batch->settled == batch->count && batch->owing == 0;
}
/* No event waits for a word of the sink. */
static inline bool ph_batch_judged(const struct ph_batch *batch)
{
    return batch->judged == batch->count;
}

/* --- leaving the flow: only while no sink has the batch --------------------------------------- */

/* The event, refused or pending, leaves the flow: HELD until its row is stored. */
void ph_batch_leave(struct ph_batch *batch, struct ph_event *event, enum ph_leave leaves);
/* A pending event of a due batch stays in its row as it is: PARKED. */
void ph_batch_return(struct ph_batch *batch, struct ph_event *event);
/* A refused event is pending again. */
void ph_batch_unjudge(struct ph_batch *batch, struct ph_event *event);
/* The source must be told once the event is sent. */
void ph_batch_owe(struct ph_batch *batch, struct ph_event *event);
/* The source was told of the event: HELD becomes PARKED. */
void ph_batch_told(struct ph_batch *batch, struct ph_event *event);

#endif
