/*
 * Matching: the first thing that happens to a batch after it was fetched, in front of the route.
 * Promise: an event that is passed over is settled like a delivered one, so the checkpoint never
 * waits for it; one that cannot be judged is not passed over.
 */
#include "core/match.h"

#include <assert.h>

#include "base/json.h"
#include "core/envelope.h"

#define AT(member) offsetof(struct ph_match_config, member)

const struct ph_option ph_match_options[] = {
    {"event_type", PH_OPT_STRING, AT(event_type), NULL, 0, 0, NULL,
     "only events of these types: globs separated by |, a leading ! negates"},
    {"aggregate_type", PH_OPT_STRING, AT(aggregate_type), NULL, 0, 0, NULL,
     "only events of these aggregate types, written like event_type"},
    {"header.*", PH_OPT_MAP, AT(headers), NULL, 0, 0, NULL,
     "only events whose header of this name matches, written like event_type"},
    PH_OPTION_END,
};

bool ph_match_wanted(const struct ph_match_config *config)
{
    return config && (config->event_type || config->aggregate_type || config->headers.count > 0);
}

static bool pattern_takes(const char *pattern, struct ph_str text)
{
    if (!pattern) {
        return true;
    }
    bool negated = *pattern == '!';
    bool found = false;
    const char *rest = pattern + negated;
    while (!found && rest) {
        const char *bar = strchr(rest, '|');
        size_t len = bar ? (size_t)(bar - rest) : strlen(rest);
        found = ph_str_glob((struct ph_str){rest, len}, text);
        rest = bar ? bar + 1 : NULL;
    }
    return found != negated;
}

/* The header's text: 1 and *ret, 0 when there is none of that name, or an error. */
static int find_header(struct ph_arena *arena, struct ph_str json, const char *wanted,
                       struct ph_str *ret, struct ph_error *err)
{
    struct ph_json_walk walk = ph_json_walk_object(json);
    struct ph_json_member member;
    int rc, found = 0;
    while ((rc = ph_json_next(&walk, &member, err)) == 1) {
        struct ph_str name;
        rc = ph_json_name(arena, member.name, &name, err);
        if (rc == 0 && ph_str_is(name, wanted)) {
            found = 1;
            *ret = member.value;
            rc =
                ph_json_is_string(member.value) ? ph_json_string(arena, member.value, ret, err) : 0;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return rc < 0 ? rc : found;
}

static int headers_match(const struct ph_match_config *config, struct ph_arena *arena,
                         struct ph_str json, struct ph_error *err)
{
    for (size_t i = 0; i < config->headers.count; i++) {
        struct ph_str value = PH_STR("");
        int rc = ph_headers_empty(json)
                     ? 0
                     : find_header(arena, json, config->headers.keys[i], &value, err);
        if (rc == PH_E_DATA) {
            ph_error_clear(err);
            return 1;
        }
        if (rc < 0) {
            return rc;
        }
        if (!pattern_takes(config->headers.values[i], value)) {
            return 0;
        }
    }
    return 1;
}

/* What the source could not read of a row that it refuses is not there. Whether the row is ours
 * cannot be told then, and passing over it would lose an event in silence. */
static bool is_unreadable(const struct ph_event *event, struct ph_str text)
{
    return event->verdict != PH_PENDING && !text.ptr;
}

static bool text_matches(const char *pattern, const struct ph_event *event, struct ph_str text)
{
    return is_unreadable(event, text) || pattern_takes(pattern, text);
}

int ph_match_event(const struct ph_match_config *config, struct ph_arena *arena,
                   const struct ph_event *event, struct ph_error *err)
{
    assert(config && arena && event);
    if (!text_matches(config->event_type, event, event->event_type) ||
        !text_matches(config->aggregate_type, event, event->aggregate_type)) {
        return 0;
    }
    if (is_unreadable(event, event->headers_json)) {
        return 1;
    }
    return headers_match(config, arena, event->headers_json, err);
}

int ph_match_batch(const struct ph_match_config *config, struct ph_batch *batch,
                   struct ph_error *err)
{
    assert(config && batch && batch->settled == 0);
    size_t kept = 0, count = batch->count;
    struct ph_event gone = {0}; /* the event just in front, when it was passed over */
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = &batch->events[i];
        int takes = ph_match_event(config, &batch->arena, event, err);
        if (takes < 0) {
            return takes;
        }
        if (takes == 0) {
            batch->refused -= event->verdict != PH_PENDING;
            batch->judged -= event->verdict != PH_PENDING;
            gone = *event;
            continue;
        }
        gone = (struct ph_event){0};
        if (kept++ != i) {
            batch->events[kept - 1] = *event;
        }
    }
    if (gone.span && !batch->has_end) {
        batch->has_end = true;
        batch->end = ph_event_checkpoint(gone.span, gone.position);
    }
    batch->count = kept;
    return (int)(count - kept);
}
