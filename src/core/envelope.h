/* The JSON envelope: eventId, eventType, aggregateType, aggregateId, data, metadata, createdAt;
 * absent fields left out. */
#ifndef PH_CORE_ENVELOPE_H
#define PH_CORE_ENVELOPE_H

#include "base/arena.h"
#include "core/event.h"

/* Writes the envelope of event into the arena. A JSON payload goes in as its own bytes under
 * "data", a binary one as base64 under "dataBase64" with "contentType"; the event's headers under
 * "metadata". A tombstone has no envelope (ret->ptr NULL). */
int ph_envelope_json(struct ph_arena *arena, const struct ph_event *event, struct ph_str *ret,
                     struct ph_error *err) PH_MUST_CHECK;

#endif
