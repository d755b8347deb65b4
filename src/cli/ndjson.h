/* One line of `posthorn publish --ndjson` as an event. */
#ifndef PH_CLI_NDJSON_H
#define PH_CLI_NDJSON_H

#include "base/arena.h"
#include "outbox/outbox.h"

#define PH_PUBLISH_LINE_MAX ((size_t)16 * 1024 * 1024)

/* The texts of *out are slices of the line or lie in the arena. Reads {aggregateType, aggregateId,
 * eventType, payload, headers?, id?}: the three names are texts that are not empty, payload is any
 * JSON value and null means a tombstone, headers an object of strings (null: none), id a UUID
 * (null: none). A missing, doubled or unknown field is PH_E_DATA, as is everything that is no JSON
 * object; the error names the field. PH_E_NOMEM. */
int ph_ndjson_parse(struct ph_arena *arena, struct ph_str line, struct ph_outbox_event *out,
                    struct ph_error *err) PH_MUST_CHECK;

/* Whether a raw JSON value is an object of strings: 0, or PH_E_DATA that says what it should be. */
int ph_ndjson_check_headers(struct ph_arena *arena, struct ph_str value,
                            struct ph_error *err) PH_MUST_CHECK;

#endif
