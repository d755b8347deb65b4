/*
 * What leaves the flow: events that were refused and wait for another attempt or for a person, the
 * later events of their keys, and events whose time has not come. Each is a row that the source
 * keeps beside its log (posthorn.parked), made by copying the log's own row; the core holds no more
 * of it than the hash of its key.
 *
 *   parked     waits for its next attempt, or behind an earlier event of its key
 *   dead       waits for a person; its key waits with it, or has gone on (passed)
 *   scheduled  waits for its deliver_after; its key does not wait
 *
 * Rows of one key that are parked or dead and not passed are its queue, in the order
 * (queue_tick, queue_position, deliver_after, position); its first one is the head. Only the head
 * has a time for its next attempt, whoever changed the queue: what comes to stand in front is due,
 * and what stood there waits. A row comes due only once the stored checkpoint has passed it, so
 * that the log never brings it a second time.
 */
#ifndef PH_CORE_PARK_H
#define PH_CORE_PARK_H

#include "base/buf.h"
#include "core/event.h"

enum ph_park_state { PH_PARK_PARKED, PH_PARK_DEAD, PH_PARK_SCHEDULED };

/* Headers that an event carries when it does not stand where the log has it: its time came only
 * now; a person redrove it when its key had gone on; an event in front of it was passed. */
#define PH_HEADER_SCHEDULED "posthorn-scheduled"
#define PH_HEADER_REDRIVEN  "posthorn-redriven"
#define PH_HEADER_GAP       "posthorn-gap"

/* An event that its key has gone on without, and that nobody was told of. */
struct ph_gap {
    struct ph_uuid id;
    struct ph_position at;
};

/* What a source is asked to change about its rows. */
enum ph_park_act {
    /* An event leaves the log: makes its row by copying the log's. Does nothing when there is one
     * already: the log brought it again after a crash. */
    PH_PARK_PUT,
    /* A row that came due was delivered: removes it; the next of its key comes due now. */
    PH_PARK_SENT,
    /* A row that came due failed: state, attempts, wait_ms and error are new; with PH_PARK_DEAD and
     * passed the next of its key comes due now. A scheduled row becomes a row of its key's queue.
     */
    PH_PARK_FAILED,
    /* A scheduled row came due while its key waits: it goes to the end of the key's queue. */
    PH_PARK_QUEUE,
    /* An event behind the passed row at `at` was delivered and has told of the gap. */
    PH_PARK_TOLD,
};

struct ph_park_change {
    enum ph_park_act act;
    enum ph_park_state state; /* PUT, FAILED */
    struct ph_position at;
    struct ph_str key; /* whose order it keeps; ptr NULL: nobody's, it waits alone. PUT only */
    int attempts;      /* PUT, FAILED */
    /* until the next attempt; below 0: when the rows in front of it in its queue are gone, which is
     * now if there are none */
    int64_t wait_ms;
    bool passed;         /* dead, and its key goes on */
    struct ph_str error; /* why; ptr NULL: it did not fail itself */
};

/* A list of changes as a JSON array of objects with the members act ("put", "sent", "failed",
 * "queue", "told"), state ("parked", "dead", "scheduled"), tick, position, key (null: none),
 * attempts, wait_ms (null: below 0), passed and error (null: none). Both databases take it. */
void ph_park_json(const struct ph_park_change *changes, size_t count, struct ph_buf *out);

/* What an event of a due batch brings along from its row. */
struct ph_park_row {
    enum ph_park_state state;
    struct ph_str key; /* ptr NULL: none */
    int attempts;      /* so far */
    bool passed;       /* its key went on without it: it is told as redriven */
};

/* One key as `held` tells it, and a row that the stored checkpoint has not passed. */
struct ph_held {
    struct ph_str key; /* ptr NULL: none */
    int64_t rows;      /* in its queue; 0: it only has a gap */
    bool has_gap;
    struct ph_uuid gap;
    struct ph_position gap_at;
    bool ahead; /* the row at `at` is ahead of the checkpoint: the log brings its event again */
    struct ph_position at;
};

struct ph_park_totals {
    int64_t parked, dead, scheduled; /* rows */
    /* How often people have changed rows of this pipeline: when it moves, held is asked again. */
    int64_t acts;
};

struct ph_due {
    int64_t wait_ms; /* until the next row comes due; below 0: none will by itself */
    int64_t acts;    /* as in ph_park_totals */
};

#endif
