/*
 * Templates such as "outbox.event.{aggregate_type}": literal text and the fields {aggregate_type},
 * {aggregate_id}, {event_type}, {header:NAME}; "{{" and "}}" are literal braces.
 */
#ifndef PH_CORE_TEMPLATE_H
#define PH_CORE_TEMPLATE_H

#include "base/arena.h"
#include "core/event.h"

struct ph_template;

/* Compiles text (copied), which must not be empty. PH_E_CONFIG names the character position and
 * what is allowed. */
int ph_template_new(struct ph_str text, struct ph_template **ret,
                    struct ph_error *err) PH_MUST_CHECK;
void ph_template_free(struct ph_template *tpl);

/* Whether it reads {header:...}: then the event's own headers must be parsed first. */
bool ph_template_needs_headers(const struct ph_template *tpl);
/* Whether it reads {aggregate_id}; is exactly that. */
bool ph_template_reads_aggregate_id(const struct ph_template *tpl);
bool ph_template_is_aggregate_id(const struct ph_template *tpl);
/* Whether it reads nothing but {aggregate_type} and {event_type}: events alike in both get the same
 * text. */
bool ph_template_by_type(const struct ph_template *tpl);

/* Fills it for one event. The result lies in the arena; that of one field alone is the event's own
 * slice, that without any field lives as long as the template. headers/header_count are the event's
 * parsed headers. PH_E_REFUSED names a field that is absent or empty; PH_E_NOMEM. */
int ph_template_fill(const struct ph_template *tpl, struct ph_arena *arena,
                     const struct ph_event *event, const struct ph_header *headers,
                     size_t header_count, struct ph_str *ret, struct ph_error *err) PH_MUST_CHECK;

#endif
