/* One line of `posthorn publish --ndjson` as an event. */
#ifndef PH_CLI_NDJSON_H
#define PH_CLI_NDJSON_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/uuid.h"

#define PH_PUBLISH_LINE_MAX ((size_t)16 * 1024 * 1024)

/* Texts are slices of the line or lie in the arena. */
struct ph_ndjson_event {
    struct ph_str aggregate_type, aggregate_id, event_type;
    struct ph_str payload; /* raw JSON, byte for byte as in the line; ptr NULL = tombstone */
    struct ph_str headers; /* a raw JSON object whose values are strings; ptr NULL = none */
    struct ph_str id;      /* a UUID; ptr NULL = the database draws one */
};

/* Reads {aggregateType, aggregateId, eventType, payload, headers?, id?}: the three names are texts
 * that are not empty, payload is any JSON value and null means a tombstone, headers an object of
 * strings (null: none), id a UUID (null: none). A missing, doubled or unknown field is PH_E_DATA,
 * as is everything that is no JSON object; the error names the field. PH_E_NOMEM. */
int ph_ndjson_parse(struct ph_arena *arena, struct ph_str line, struct ph_ndjson_event *out,
                    struct ph_error *err) PH_MUST_CHECK;

/* Whether a raw JSON value is an object of strings: 0, or PH_E_DATA that says what it should be. */
int ph_ndjson_check_headers(struct ph_arena *arena, struct ph_str value,
                            struct ph_error *err) PH_MUST_CHECK;

#endif
