/*
 * Inside the route: what configuration compiles to. route_rule.c makes it, route.c applies it.
 */
#ifndef PH_CORE_ROUTE_RULE_H
#define PH_CORE_ROUTE_RULE_H

#include "core/route.h"
#include "core/template.h"

#define PH_ROUTE_OWN -1 /* in place of a rule's number: the route's own setting */

/* Where matching events go. */
struct ph_route_target {
    const struct ph_template *topic, *key; /* key NULL = no key */
    bool topic_by_type;                    /* see ph_template_by_type */
    bool key_is_aggregate_id;
    bool key_by_aggregate;    /* it reads {aggregate_id} */
    int envelope;             /* enum ph_envelope */
    int topic_rule, key_rule; /* which rule the templates come from, for messages */
};

struct ph_route_rule {
    struct ph_str event_type, aggregate_type; /* globs; ptr NULL matches all */
    struct ph_route_target target;
};

struct ph_route {
    bool header_xid;
    char *patterns; /* what the globs are slices of */
    struct ph_template *templates[2 * (PH_ROUTE_RULES_MAX + 1)];
    size_t template_count;
    struct ph_route_target own; /* when no rule matches */
    struct ph_route_rule rules[PH_ROUTE_RULES_MAX];
    size_t rule_count;
};

#define PH_ROUTE_NAME_MAX 40

/* "route.topic" or "route.rules.3.topic". */
void ph__route_name(int rule, const char *field, char out[PH_ROUTE_NAME_MAX]);

#endif
