/*
 * An event as it flows: fetched into a batch, routed, submitted, given a verdict, settled.
 * All texts are slices of the batch's arena; payload bytes are never parsed on the way through
 * unless a route or an envelope asks for a field.
 */
#ifndef PH_CORE_EVENT_H
#define PH_CORE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "base/uuid.h"
#include "core/checkpoint.h"

/* What became of one event. The sink says the first four. */
enum ph_verdict {
    PH_PENDING, /* not known yet, or not attempted because an earlier event of its lane was refused
                 */
    PH_SENT,    /* the sink has it and will keep it */
    PH_RETRY,   /* this event failed, another attempt may succeed */
    PH_REJECT,  /* this event can never succeed as it is */
    PH_HELD,    /* it left the flow; its row is not stored yet */
    PH_PARKED,  /* it left the flow and its row is stored, or stays where it was: it is settled */
};

/* Why a HELD event left the flow. */
enum ph_leave {
    PH_STAYS,
    PH_LEAVES_RETRY,     /* it failed and gets another attempt */
    PH_LEAVES_DEAD,      /* it failed, a person must see to it; its key waits */
    PH_LEAVES_PASSED,    /* likewise, and its key goes on */
    PH_LEAVES_BEHIND,    /* an earlier event of its key waits */
    PH_LEAVES_SCHEDULED, /* its time has not come */
};

struct ph_header {
    struct ph_str name, value;
};

/* The tick an event belongs to, shared by its events: what a checkpoint inside it needs. */
struct ph_tick_span {
    int64_t tick;
    struct ph_str snapshot, base_snapshot;
};

struct ph_park_row;
struct ph_gap;

struct ph_event {
    /* the event, as the source read it */
    int64_t position;
    const struct ph_tick_span *span;
    uint64_t xid; /* of the source transaction; 0 when the source has none */
    int64_t created_us;
    struct ph_uuid id;
    struct ph_str aggregate_type, aggregate_id, event_type;
    struct ph_str payload;          /* ptr NULL = tombstone */
    struct ph_str content_type;     /* ptr NULL = the payload is JSON */
    struct ph_str headers_json;     /* a JSON object; "{}" or empty for none */
    int64_t deliver_after_us;       /* 0: at once */
    const struct ph_park_row *park; /* it comes from a parked row; NULL: from the log */

    /* where and how it goes, as the route decided */
    struct ph_str topic, key; /* key.ptr NULL = no key */
    struct ph_str body;       /* what is sent: the payload or its envelope; ptr NULL = tombstone */
    struct ph_header *headers;
    unsigned header_count;

    /* what became of it */
    struct ph_str order_key;  /* whose order it keeps; ptr NULL: nobody's */
    const struct ph_gap *gap; /* it tells of this gap; or NULL */
    uint8_t leaves;           /* enum ph_leave */
    bool owes;                /* the source must be told what became of it */
    bool telling;             /* that is under way */
    uint8_t mark;             /* the sink's own; cleared when a batch is reused */
    uint8_t verdict;          /* enum ph_verdict */
    const char *cause; /* why RETRY or REJECT: one sentence in the batch's arena, without payload or
                          key; or NULL */
};

static inline struct ph_position ph_event_at(const struct ph_event *event)
{
    return (struct ph_position){event->span->tick, event->position};
}

/* The checkpoint behind an event; texts are those of its span. */
static inline struct ph_checkpoint ph_event_checkpoint(const struct ph_tick_span *span,
                                                       int64_t position)
{
    return (struct ph_checkpoint){.at = {span->tick, position},
                                  .snapshot = span->snapshot,
                                  .base_snapshot = span->base_snapshot};
}

#endif
