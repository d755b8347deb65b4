/* The JSON envelope: eventId, eventType, aggregateType, aggregateId, data, metadata, createdAt;
 * absent fields left out. */
#ifndef PH_CORE_ENVELOPE_H
#define PH_CORE_ENVELOPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "core/event.h"

/* The length of len bytes as base64. */
static inline size_t ph_base64_len(size_t len)
{
    return len / 3 * 4 + (len % 3 ? 4 : 0);
}
/* Appends bytes as base64 (RFC 4648, padded). */
void ph_base64_put(struct ph_buf *buf, struct ph_str bytes);

/* Whether an event has no headers of its own: the text is empty or "{}". */
bool ph_headers_empty(struct ph_str headers_json);

/* Writes the envelope of event into the arena. A JSON payload goes in as its own bytes under
 * "data", a binary one as base64 under "dataBase64" with "contentType"; the event's headers under
 * "metadata". A tombstone has no envelope (ret->ptr NULL). */
int ph_envelope_json(struct ph_arena *arena, const struct ph_event *event, struct ph_str *ret,
                     struct ph_error *err) PH_MUST_CHECK;

#endif
