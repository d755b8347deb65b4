/*
 * Where an event goes and in which clothes: topic, key, headers, envelope.
 */
#ifndef PH_CORE_ROUTE_H
#define PH_CORE_ROUTE_H

#include "core/batch.h"
#include "core/option.h"

#define PH_ROUTE_RULES_MAX 64

/* One rule as configured; a NULL pattern matches all, a NULL template takes the route's own. */
struct ph_route_rule_config {
    char *event_type, *aggregate_type; /* globs */
    char *topic, *key, *envelope;
};

struct ph_route_config {
    char *topic;     /* template, default outbox.event.{aggregate_type} */
    char *key;       /* template, default {aggregate_id}; empty = no key */
    int envelope;    /* enum ph_envelope */
    bool header_xid; /* send the source transaction id as header posthorn-xid */
    struct ph_route_rule_config rules[PH_ROUTE_RULES_MAX];
    size_t rule_count;
};

enum ph_envelope { PH_ENVELOPE_NONE, PH_ENVELOPE_JSON };

/* route.topic, route.key, ...; route.rules.N.FIELD is set with ph_route_rule_set. */
extern const struct ph_option ph_route_options[];
/* name is "0.topic", "1.event_type" and so on. */
int ph_route_rule_set(struct ph_route_config *config, struct ph_str name, struct ph_str value,
                      struct ph_error *err) PH_MUST_CHECK;
void ph_route_config_free(struct ph_route_config *config);

struct ph_route;

/* Compiles the templates; PH_E_CONFIG names the template and the place in it. */
int ph_route_new(const struct ph_route_config *config, struct ph_route **ret,
                 struct ph_error *err) PH_MUST_CHECK;
void ph_route_free(struct ph_route *route);

/* Fills topic, key, order_key, body and headers of the batch's pending events. An event whose
 * template cannot be filled gets REJECT with a cause that names the option and the field; its
 * order_key is the aggregate_id, like that of an event the source refused. Returns the number of
 * events routed, or PH_E_NOMEM.
 * Headers: id, eventType, aggregateType, aggregateId, createdAt, posthorn-position, posthorn-xid
 * when asked for, content-type when the body is a payload that is not JSON, then the event's own
 * except those of these names. {header:NAME} reads the same list. */
int ph_route_batch(const struct ph_route *route, struct ph_batch *batch,
                   struct ph_error *err) PH_MUST_CHECK;

/* Adds a header of ours behind the others. Its texts must live as long as the event. */
int ph_route_header(struct ph_arena *arena, struct ph_event *event, struct ph_str name,
                    struct ph_str value, struct ph_error *err) PH_MUST_CHECK;

/* Whether events of one key are always of one aggregate_id (or there are no keys), so that shards
 * of a log, which are cut by it, keep the order of each key. */
bool ph_route_keeps_shards(const struct ph_route *route);

/* Only the topic and the key of one event (verify). 0, PH_E_REFUSED when a template cannot be
 * filled. */
int ph_route_event(const struct ph_route *route, struct ph_arena *arena, struct ph_event *event,
                   struct ph_error *err) PH_MUST_CHECK;

#endif
