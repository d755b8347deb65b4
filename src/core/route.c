/*
 * Routing: each event of a batch gets its topic, key, body and headers before it is submitted. On
 * the hot path: with the default route nothing is copied but id, time and position as text, and the
 * topic once for a run of events of one type. Payloads are never parsed, headers only when there
 * are any.
 * Promise: an event that cannot be routed is rejected by the name of the field; it is for the
 * pipeline to see that nothing of its key overtakes it.
 */
#include "core/route.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "core/envelope.h"
#include "core/route_rule.h"

#define FIXED_MAX    8    /* headers of ours */
#define OWN_FIRST    16   /* room for the event's own at first */
#define HEADERS_MAX  1024 /* of one event, with ours */
#define XID_TEXT_MAX 21
#define FIXED_TEXT \
    (PH_UUID_TEXT_LEN + 1 + PH_TIME_TEXT_LEN + 1 + PH_POSITION_TEXT_MAX + XID_TEXT_MAX)

/* What the event before this one was given: events of one type come in runs. */
struct last {
    struct ph_str event_type, aggregate_type, topic;
    const struct ph_route_target *target; /* NULL: there was none yet */
};

static bool matches(struct ph_str pattern, struct ph_str text)
{
    return !pattern.ptr || ph_str_glob(pattern, text);
}

static const struct ph_route_target *find_target(const struct ph_route *route,
                                                 const struct ph_event *event)
{
    for (size_t i = 0; i < route->rule_count; i++) {
        const struct ph_route_rule *rule = &route->rules[i];
        if (matches(rule->event_type, event->event_type) &&
            matches(rule->aggregate_type, event->aggregate_type)) {
            return &rule->target;
        }
    }
    return &route->own;
}

/* --- headers ---------------------------------------------------------------------------------- */

struct header_list {
    struct ph_header *headers;
    unsigned count, room;
    unsigned fixed; /* how many at the front are ours */
};

static int no_room(struct ph_error *err)
{
    return ph_fail(err, PH_E_NOMEM, "the batch has no room for an event's headers");
}

static inline void add_fixed(struct header_list *list, struct ph_str name, struct ph_str value)
{
    list->headers[list->count++] = (struct ph_header){name, value};
}

static inline struct ph_str or_empty(struct ph_str value)
{
    return value.ptr ? value : PH_STR("");
}

/* The headers that every event has; text has room for FIXED_TEXT characters. */
static void put_fixed(struct header_list *list, char *text, const struct ph_event *event, bool xid,
                      bool content_type)
{
    char *time = text + PH_UUID_TEXT_LEN + 1;
    char *position = time + PH_TIME_TEXT_LEN + 1;
    char *xid_text = position + PH_POSITION_TEXT_MAX;
    ph_uuid_format(&event->id, text);
    ph_time_format(event->created_us, time);
    size_t position_len = ph_position_format(ph_event_at(event), position);
    add_fixed(list, PH_STR("id"), (struct ph_str){text, PH_UUID_TEXT_LEN});
    add_fixed(list, PH_STR("eventType"), or_empty(event->event_type));
    add_fixed(list, PH_STR("aggregateType"), or_empty(event->aggregate_type));
    add_fixed(list, PH_STR("aggregateId"), or_empty(event->aggregate_id));
    add_fixed(list, PH_STR("createdAt"), (struct ph_str){time, PH_TIME_TEXT_LEN});
    add_fixed(list, PH_STR("posthorn-position"), (struct ph_str){position, position_len});
    if (xid) {
        int len = snprintf(xid_text, XID_TEXT_MAX, "%" PRIu64, event->xid);
        add_fixed(list, PH_STR("posthorn-xid"), (struct ph_str){xid_text, (size_t)len});
    }
    if (content_type) {
        add_fixed(list, PH_STR("content-type"), event->content_type);
    }
    list->fixed = list->count;
}

static bool is_fixed(const struct header_list *list, struct ph_str name)
{
    for (unsigned i = 0; i < list->fixed; i++) {
        if (ph_str_eq(name, list->headers[i].name)) {
            return true;
        }
    }
    return false;
}

/* Makes room for one more header. */
static int grow(struct header_list *list, struct ph_arena *arena, struct ph_error *err)
{
    if (list->count >= HEADERS_MAX) {
        return ph_fail(err, PH_E_REFUSED, "headers: more than %d", HEADERS_MAX);
    }
    if (list->count < list->room) {
        return 0;
    }
    unsigned room = list->room * 2;
    struct ph_header *headers = ph_arena_alloc(arena, room * sizeof *headers);
    if (!headers) {
        return no_room(err);
    }
    memcpy(headers, list->headers, list->count * sizeof *headers);
    list->headers = headers;
    list->room = room;
    return 0;
}

/* Adds one of the event's own, unless we have one of that name. */
static int add_own(struct header_list *list, struct ph_arena *arena,
                   const struct ph_json_member *member, struct ph_error *err)
{
    struct ph_header header = {.value = member->value};
    int rc = ph_json_name(arena, member->name, &header.name, err);
    if (rc < 0 || is_fixed(list, header.name)) {
        return rc;
    }
    if (ph_json_is_string(member->value)) {
        rc = ph_json_string(arena, member->value, &header.value, err);
    }
    if (rc == 0) {
        rc = grow(list, arena, err);
    }
    if (rc == 0) {
        list->headers[list->count++] = header;
    }
    return rc;
}

static int add_all_own(struct header_list *list, struct ph_arena *arena, struct ph_str json,
                       struct ph_error *err)
{
    struct ph_json_walk walk = ph_json_walk_object(json);
    struct ph_json_member member;
    int rc;
    while ((rc = ph_json_next(&walk, &member, err)) == 1) {
        rc = add_own(list, arena, &member, err);
        if (rc < 0) {
            break;
        }
    }
    if (rc == PH_E_DATA) {
        (void)ph_fail_prefix(err, "headers");
        return PH_E_REFUSED;
    }
    return rc;
}

static int fill_headers(const struct ph_route *route, const struct ph_route_target *target,
                        struct ph_arena *arena, struct ph_event *event, struct ph_error *err)
{
    bool own = !ph_headers_empty(event->headers_json);
    struct header_list list = {.room = FIXED_MAX + (own ? OWN_FIRST : 0)};
    char *block = ph_arena_alloc(arena, list.room * sizeof *list.headers + FIXED_TEXT);
    if (!block) {
        return no_room(err);
    }
    list.headers = (struct ph_header *)(void *)block;
    put_fixed(&list, block + list.room * sizeof *list.headers, event,
              route->header_xid && event->xid != 0,
              target->envelope == PH_ENVELOPE_NONE && event->content_type.ptr);
    int rc = own ? add_all_own(&list, arena, event->headers_json, err) : 0;
    event->headers = list.headers;
    event->header_count = list.count;
    return rc;
}

/* --- topic, key, body ------------------------------------------------------------------------- */

/* Puts the option that asked for a field in front of the message. */
static int blame(int rc, int rule, const char *field, struct ph_error *err)
{
    char name[PH_ROUTE_NAME_MAX];
    ph__route_name(rule, field, name);
    (void)ph_fail_prefix(err, "%s", name);
    return rc;
}

static int fill_topic(const struct ph_route_target *target, struct ph_arena *arena,
                      struct ph_event *event, struct ph_error *err)
{
    int rc = ph_template_fill(target->topic, arena, event, event->headers, event->header_count,
                              &event->topic, err);
    return rc < 0 ? blame(rc, target->topic_rule, "topic", err) : 0;
}

static int fill_key(const struct ph_route_target *target, struct ph_arena *arena,
                    struct ph_event *event, struct ph_error *err)
{
    if (!target->key) {
        event->key = (struct ph_str){NULL, 0};
        return 0;
    }
    if (target->key_is_aggregate_id && event->aggregate_id.len > 0) {
        event->key = event->aggregate_id;
        return 0;
    }
    int rc = ph_template_fill(target->key, arena, event, event->headers, event->header_count,
                              &event->key, err);
    return rc < 0 ? blame(rc, target->key_rule, "key", err) : 0;
}

/* Whose order the event keeps. One name for one key, whatever the template makes of it: also rows
 * that were parked without a route (reshard) carry the aggregate_id then. */
static struct ph_str order_key(const struct ph_route_target *target, const struct ph_event *event)
{
    return target->key_by_aggregate ? event->aggregate_id : event->key;
}

static int fill_body(const struct ph_route_target *target, struct ph_arena *arena,
                     struct ph_event *event, struct ph_error *err)
{
    if (target->envelope == PH_ENVELOPE_NONE) {
        event->body = event->payload;
        return 0;
    }
    return ph_envelope_json(arena, event, &event->body, err);
}

static int route_event(const struct ph_route *route, struct ph_arena *arena, struct last *last,
                       struct ph_event *event, struct ph_error *err)
{
    bool same = last->target && ph_str_eq(event->event_type, last->event_type) &&
                ph_str_eq(event->aggregate_type, last->aggregate_type);
    const struct ph_route_target *target = same ? last->target : find_target(route, event);
    int rc = fill_headers(route, target, arena, event, err);
    if (rc == 0 && same && target->topic_by_type) {
        event->topic = last->topic;
    } else if (rc == 0) {
        rc = fill_topic(target, arena, event, err);
    }
    event->order_key = event->aggregate_id; /* as long as the route has not said */
    if (rc == 0) {
        rc = fill_key(target, arena, event, err);
    }
    if (rc == 0) {
        event->order_key = order_key(target, event);
        rc = fill_body(target, arena, event, err);
    }
    *last = (struct last){event->event_type, event->aggregate_type, event->topic, target};
    return rc;
}

int ph_route_batch(const struct ph_route *route, struct ph_batch *batch, struct ph_error *err)
{
    assert(route && batch && batch->count <= INT32_MAX);
    struct ph_error own;
    struct last last = {.target = NULL};
    struct ph_error *why = err ? err : &own;
    int routed = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct ph_event *event = &batch->events[i];
        if (event->verdict != PH_PENDING) {
            event->order_key = event->aggregate_id;
            continue;
        }
        int rc = route_event(route, &batch->arena, &last, event, why);
        if (rc == PH_E_REFUSED) {
            ph_batch_verdict(batch, event, PH_REJECT, why->text);
            ph_error_clear(why);
            last.target = NULL; /* its topic may not have been made */
        } else if (rc < 0) {
            return rc;
        }
        routed += rc == 0;
    }
    return routed;
}

int ph_route_header(struct ph_arena *arena, struct ph_event *event, struct ph_str name,
                    struct ph_str value, struct ph_error *err)
{
    struct ph_header *headers = ph_arena_alloc(arena, (event->header_count + 1) * sizeof *headers);
    if (!headers) {
        return no_room(err);
    }
    if (event->header_count > 0) {
        memcpy(headers, event->headers, event->header_count * sizeof *headers);
    }
    headers[event->header_count] = (struct ph_header){name, value};
    event->headers = headers;
    event->header_count++;
    return 0;
}

int ph_route_event(const struct ph_route *route, struct ph_arena *arena, struct ph_event *event,
                   struct ph_error *err)
{
    assert(route && arena && event);
    const struct ph_route_target *target = find_target(route, event);
    bool headers = ph_template_needs_headers(target->topic) ||
                   (target->key && ph_template_needs_headers(target->key));
    int rc = headers ? fill_headers(route, target, arena, event, err) : 0;
    if (rc == 0) {
        rc = fill_topic(target, arena, event, err);
    }
    return rc == 0 ? fill_key(target, arena, event, err) : rc;
}
