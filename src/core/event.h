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

/* What became of one event at the sink. */
enum ph_verdict {
    PH_PENDING, /* not known yet, or not attempted because an earlier event of its lane was refused
                 */
    PH_SENT,    /* the sink has it and will keep it */
    PH_RETRY,   /* this event failed, another attempt may succeed */
    PH_REJECT,  /* this event can never succeed as it is */
};

struct ph_header {
    struct ph_str name, value;
};

/* The tick an event belongs to, shared by its events: what a checkpoint inside it needs. */
struct ph_tick_span {
    int64_t tick;
    struct ph_str snapshot, base_snapshot;
};

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

    /* the event right in front of it, when match passed over that one: a checkpoint in front of
     * this event stands behind that one. NULL = there is none */
    const struct ph_tick_span *passed_span;
    int64_t passed_position;

    /* what became of it */
    uint8_t mark;      /* the sink's own; cleared when a batch is reused */
    uint8_t verdict;   /* enum ph_verdict */
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
