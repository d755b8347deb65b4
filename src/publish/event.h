/* What both databases ask of an application's events, between the library's own files. */
#ifndef PH_PUBLISH_EVENT_H
#define PH_PUBLISH_EVENT_H

#include <posthorn/posthorn.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

/* An event that was checked, as it is stored. The texts are the caller's. */
struct ph_publish_row {
    struct ph_uuid id;
    struct ph_str aggregate_type, aggregate_id, event_type;
    struct ph_str headers_json;  /* in the batch's own buffer */
    struct ph_str payload;       /* JSON; ptr NULL = none */
    struct ph_str payload_bytes; /* ptr NULL = none */
    struct ph_str content_type;  /* ptr NULL = none */
    bool strict;
};

/* The rows of one call. */
struct ph_publish_batch {
    struct ph_publish_row *rows;
    struct ph_publish_row one; /* rows of a batch of one */
    size_t count, strict_count;
    struct ph_buf headers; /* of all events, one JSON object behind the other */
};

/* Checks the events, gives ids to those that have none, and writes their headers as JSON. PH_E_DATA
 * names the first event that is wrong (by number, when there are several); PH_E_USAGE; PH_E_NOMEM.
 * The batch is to be freed in any case. */
int ph_publish_check(const struct posthorn_event *events, size_t count,
                     struct ph_publish_batch *batch, struct ph_error *err) PH_MUST_CHECK;
void ph_publish_free(struct ph_publish_batch *batch);

/* Ends a call: writes the ids on success (ids may be NULL), puts the outcome rc with err's text
 * into error (may be NULL), frees the batch, and returns the public status. */
int ph_publish_end(struct ph_publish_batch *batch, char (*ids)[POSTHORN_ID_SIZE], int rc,
                   const struct ph_error *err, struct posthorn_error *error);

#endif
