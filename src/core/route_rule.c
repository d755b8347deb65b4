/*
 * The route's configuration: option tables, rules, and their compilation into targets at start.
 * Promise: what compiles can be applied to any event without a further look at the configuration; a
 * mistake is named by its option and the place in it.
 */
#include "core/route_rule.h"

#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"

#define TOPIC_DEFAULT   "outbox.event.{aggregate_type}"
#define KEY_DEFAULT     "{aggregate_id}"
#define ENVELOPES       "none|json"
#define AT(member)      offsetof(struct ph_route_config, member)
#define RULE_AT(member) offsetof(struct ph_route_rule_config, member)

const struct ph_option ph_route_options[] = {
    {"topic", PH_OPT_STRING, AT(topic), TOPIC_DEFAULT, 0, 0, NULL,
     "where events go: text with {aggregate_type}, {aggregate_id}, {event_type}, {header:NAME}"},
    {"key", PH_OPT_STRING, AT(key), KEY_DEFAULT, 0, 0, NULL,
     "the key, whose events stay in order; the same fields; empty for no key"},
    {"envelope", PH_OPT_ENUM, AT(envelope), "none", 0, 0, ENVELOPES,
     "what is sent: the payload as it is, or a JSON object around it"},
    {"header_xid", PH_OPT_BOOL, AT(header_xid), "false", 0, 0, NULL,
     "send the source transaction id as header posthorn-xid"},
    PH_OPTION_END,
};

static const struct ph_option rule_options[] = {
    {"event_type", PH_OPT_STRING, RULE_AT(event_type), NULL, 0, 0, NULL, NULL},
    {"aggregate_type", PH_OPT_STRING, RULE_AT(aggregate_type), NULL, 0, 0, NULL, NULL},
    {"topic", PH_OPT_STRING, RULE_AT(topic), NULL, 0, 0, NULL, NULL},
    {"key", PH_OPT_STRING, RULE_AT(key), NULL, 0, 0, NULL, NULL},
    {"envelope", PH_OPT_STRING, RULE_AT(envelope), NULL, 0, 0, NULL, NULL},
    PH_OPTION_END,
};

PH_DEFINE_CLEANUP(route, struct ph_route *, ph_route_free);

void ph__route_name(int rule, const char *field, char out[PH_ROUTE_NAME_MAX])
{
    if (rule == PH_ROUTE_OWN) {
        (void)snprintf(out, PH_ROUTE_NAME_MAX, "route.%s", field);
    } else {
        (void)snprintf(out, PH_ROUTE_NAME_MAX, "route.rules.%d.%s", rule, field);
    }
}

static bool parse_envelope(struct ph_str text, int *out)
{
    if (ph_str_is(text, "none")) {
        *out = PH_ENVELOPE_NONE;
        return true;
    }
    *out = PH_ENVELOPE_JSON;
    return ph_str_is(text, "json");
}

int ph_route_rule_set(struct ph_route_config *config, struct ph_str name, struct ph_str value,
                      struct ph_error *err)
{
    assert(config);
    const char *dot = name.len > 0 ? memchr(name.ptr, '.', name.len) : NULL;
    uint64_t index = 0;
    if (!dot || !ph_str_u64((struct ph_str){name.ptr, (size_t)(dot - name.ptr)}, &index) ||
        index >= PH_ROUTE_RULES_MAX) {
        return ph_fail(err, PH_E_CONFIG,
                       "route.rules.%.*s: write it as route.rules.N.FIELD with N from 0 to %d",
                       PH_STR_ARG(name), PH_ROUTE_RULES_MAX - 1);
    }
    struct ph_str field = {dot + 1, name.len - (size_t)(dot + 1 - name.ptr)};
    int ignored;
    if (ph_str_is(field, "envelope") && !parse_envelope(value, &ignored)) {
        return ph_fail(err, PH_E_CONFIG,
                       "route.rules.%.*s: \"%.*s\" is not valid; expected one of %s",
                       PH_STR_ARG(name), PH_STR_ARG(value), ENVELOPES);
    }
    char prefix[PH_ROUTE_NAME_MAX];
    (void)snprintf(prefix, sizeof prefix, "route.rules.%u", (unsigned)index);
    int rc = ph_option_set(rule_options, &config->rules[index], prefix, field, value, err);
    if (rc == 0 && config->rule_count <= index) {
        config->rule_count = (size_t)index + 1;
    }
    return rc;
}

void ph_route_config_free(struct ph_route_config *config)
{
    if (!config) {
        return;
    }
    ph_options_free(ph_route_options, config);
    for (size_t i = 0; i < PH_ROUTE_RULES_MAX; i++) {
        ph_options_free(rule_options, &config->rules[i]);
    }
    *config = (struct ph_route_config){0};
}

/* --- compiling -------------------------------------------------------------------------------- */

/* Compiles text into a template of the route's. */
static int compile(struct ph_route *route, const char *text, int rule, const char *field,
                   const struct ph_template **ret, struct ph_error *err)
{
    assert(route->template_count < sizeof route->templates / sizeof *route->templates);
    struct ph_template *tpl;
    int rc = ph_template_new(ph_str_from(text), &tpl, err);
    if (rc < 0) {
        char name[PH_ROUTE_NAME_MAX];
        ph__route_name(rule, field, name);
        (void)ph_fail_prefix(err, "%s", name);
        return rc;
    }
    route->templates[route->template_count++] = tpl;
    *ret = tpl;
    return 0;
}

/* Puts a topic and a key, unless they are NULL, in place of those the target has. */
static int set_target(struct ph_route *route, struct ph_route_target *target, const char *topic,
                      const char *key, int rule, struct ph_error *err)
{
    int rc = topic ? compile(route, topic, rule, "topic", &target->topic, err) : 0;
    if (rc < 0) {
        return rc;
    }
    if (topic) {
        target->topic_rule = rule;
        target->topic_by_type = ph_template_by_type(target->topic);
    }
    if (!key) {
        return 0;
    }
    target->key_rule = rule;
    target->key = NULL;
    target->key_is_aggregate_id = target->key_by_aggregate = false;
    if (*key) {
        rc = compile(route, key, rule, "key", &target->key, err);
        target->key_is_aggregate_id = rc == 0 && ph_template_is_aggregate_id(target->key);
        target->key_by_aggregate = rc == 0 && ph_template_reads_aggregate_id(target->key);
    }
    return rc;
}

static int compile_rule(struct ph_route *route, const struct ph_route_rule_config *config,
                        struct ph_error *err)
{
    int number = (int)route->rule_count;
    if (!config->event_type && !config->aggregate_type && !config->topic && !config->key &&
        !config->envelope) {
        return ph_fail(err, PH_E_CONFIG,
                       "route.rules.%d is not set; rules are numbered from 0 without a gap",
                       number);
    }
    struct ph_route_rule *rule = &route->rules[route->rule_count++];
    rule->target = route->own;
    if (config->envelope &&
        !parse_envelope(ph_str_from(config->envelope), &rule->target.envelope)) {
        return ph_fail(err, PH_E_CONFIG, "route.rules.%d.envelope: \"%s\" is not one of %s", number,
                       config->envelope, ENVELOPES);
    }
    return set_target(route, &rule->target, config->topic, config->key, number, err);
}

/* A copy of text at *at, which moves behind it. */
static struct ph_str put_pattern(char **at, const char *text)
{
    struct ph_str copy = {text ? *at : NULL, text ? strlen(text) : 0};
    if (copy.len > 0) {
        memcpy(*at, text, copy.len);
        *at += copy.len;
    }
    return copy;
}

static int copy_patterns(struct ph_route *route, const struct ph_route_config *config,
                         struct ph_error *err)
{
    size_t size = 1;
    for (size_t i = 0; i < config->rule_count; i++) {
        size += ph_str_from(config->rules[i].event_type).len;
        size += ph_str_from(config->rules[i].aggregate_type).len;
    }
    route->patterns = ph_mem_alloc(size);
    if (!route->patterns) {
        return ph_fail(err, PH_E_NOMEM, "no memory for the route's rules");
    }
    char *at = route->patterns;
    for (size_t i = 0; i < config->rule_count; i++) {
        route->rules[i].event_type = put_pattern(&at, config->rules[i].event_type);
        route->rules[i].aggregate_type = put_pattern(&at, config->rules[i].aggregate_type);
    }
    return 0;
}

int ph_route_new(const struct ph_route_config *config, struct ph_route **ret, struct ph_error *err)
{
    assert(config && ret && config->rule_count <= PH_ROUTE_RULES_MAX);
    PH_CLEANUP(ph_cleanup_route) struct ph_route *route = ph_mem_zero(1, sizeof *route);
    if (!route) {
        return ph_fail(err, PH_E_NOMEM, "no memory for the route");
    }
    route->header_xid = config->header_xid;
    route->own.envelope = config->envelope;
    int rc = set_target(route, &route->own, config->topic ? config->topic : TOPIC_DEFAULT,
                        config->key ? config->key : KEY_DEFAULT, PH_ROUTE_OWN, err);
    for (size_t i = 0; rc == 0 && i < config->rule_count; i++) {
        rc = compile_rule(route, &config->rules[i], err);
    }
    if (rc == 0) {
        rc = copy_patterns(route, config, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret = route;
    route = NULL;
    return 0;
}

static bool keeps_shards(const struct ph_route_target *target)
{
    return !target->key || target->key_by_aggregate;
}

bool ph_route_keeps_shards(const struct ph_route *route)
{
    bool keeps = keeps_shards(&route->own);
    for (size_t i = 0; i < route->rule_count; i++) {
        keeps = keeps && keeps_shards(&route->rules[i].target);
    }
    return keeps;
}

void ph_route_free(struct ph_route *route)
{
    if (!route) {
        return;
    }
    for (size_t i = 0; i < route->template_count; i++) {
        ph_template_free(route->templates[i]);
    }
    ph_mem_free(route->patterns);
    ph_mem_free(route);
}
