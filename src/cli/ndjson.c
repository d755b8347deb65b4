/*
 * Reads one NDJSON line into an event without making a tree of it.
 * Place: between the line reader and the batch of `publish --ndjson`.
 * Promise: payload and headers keep their bytes; what is not understood is refused, never dropped.
 */
#include "cli/ndjson.h"

#include "base/json.h"
#include "cli/cli.h"

struct reading {
    struct ph_arena *arena;
    struct ph_outbox_event *event;
};

struct field {
    const char *name;
    bool needed;
    int (*read)(struct reading *r, struct ph_str value, struct ph_error *err);
};

static int read_text(struct reading *r, struct ph_str value, struct ph_str *out,
                     struct ph_error *err)
{
    if (!ph_json_is_string(value)) {
        return ph_fail(err, PH_E_DATA, "must be a string");
    }
    int rc = ph_json_string(r->arena, value, out, err);
    if (rc == 0 && out->len == 0) {
        return ph_fail(err, PH_E_DATA, "must not be empty");
    }
    return rc;
}

static int read_aggregate_type(struct reading *r, struct ph_str value, struct ph_error *err)
{
    return read_text(r, value, &r->event->aggregate_type, err);
}

static int read_aggregate_id(struct reading *r, struct ph_str value, struct ph_error *err)
{
    return read_text(r, value, &r->event->aggregate_id, err);
}

static int read_event_type(struct reading *r, struct ph_str value, struct ph_error *err)
{
    return read_text(r, value, &r->event->event_type, err);
}

static int read_payload(struct reading *r, struct ph_str value, struct ph_error *err)
{
    (void)err;
    r->event->payload = ph_json_is_null(value) ? (struct ph_str){NULL, 0} : value;
    return 0;
}

int ph_ndjson_check_headers(struct ph_arena *arena, struct ph_str value, struct ph_error *err)
{
    if (!ph_json_is_object(value)) {
        return ph_fail(err, PH_E_DATA, "must be an object of strings");
    }
    struct ph_json_walk walk = ph_json_walk_object(value);
    struct ph_json_member member;
    int more;
    while ((more = ph_json_next(&walk, &member, err)) == 1) {
        struct ph_str name, text;
        if (!ph_json_is_string(member.value)) {
            return ph_fail(err, PH_E_DATA, "must be an object of strings, and one value is none");
        }
        int rc = ph_json_name(arena, member.name, &name, err);
        if (rc == 0) {
            rc = ph_json_string(arena, member.value, &text, err);
        }
        if (rc < 0) {
            return rc;
        }
        if (name.len == 0) {
            return ph_fail(err, PH_E_DATA, "a header has no name");
        }
    }
    return more;
}

static int read_headers(struct reading *r, struct ph_str value, struct ph_error *err)
{
    if (ph_json_is_null(value)) {
        return 0;
    }
    r->event->headers = value;
    return ph_ndjson_check_headers(r->arena, value, err);
}

static int read_id(struct reading *r, struct ph_str value, struct ph_error *err)
{
    if (ph_json_is_null(value)) {
        return 0;
    }
    struct ph_uuid id;
    int rc = read_text(r, value, &r->event->id, err);
    if (rc == 0 && !ph_uuid_parse(r->event->id, &id)) {
        return ph_fail(err, PH_E_DATA, "must be a UUID");
    }
    return rc;
}

static const struct field fields[] = {
    {"aggregateType", true, read_aggregate_type},
    {"aggregateId", true, read_aggregate_id},
    {"eventType", true, read_event_type},
    {"payload", true, read_payload},
    {"headers", false, read_headers},
    {"id", false, read_id},
};

#define FIELD_COUNT (sizeof fields / sizeof fields[0])

/* Names come from the line: shown short and printable, since they may be anything. */
static int fail_unknown(struct ph_str name, struct ph_error *err)
{
    char shown[41];
    size_t len = 0;
    while (len < name.len && len < sizeof shown - 1) {
        unsigned char c = (unsigned char)name.ptr[len];
        shown[len++] = (char)(c < 0x20 || c > 0x7e ? '?' : c);
    }
    shown[len] = '\0';
    const char *names[FIELD_COUNT + 1] = {NULL};
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        names[i] = fields[i].name;
    }
    struct ph_buf hint;
    ph_buf_init(&hint, 256);
    ph_cli_put_hint(&hint, shown, names, "");
    (void)ph_fail(err, PH_E_DATA, "unknown field \"%s\"%s", shown, ph_buf_text(&hint));
    ph_buf_free(&hint);
    return PH_E_DATA;
}

static int read_member(struct reading *r, const struct ph_json_member *member, unsigned *seen,
                       struct ph_error *err)
{
    struct ph_str name;
    int rc = ph_json_name(r->arena, member->name, &name, err);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!ph_str_is(name, fields[i].name)) {
            continue;
        }
        if (*seen & 1U << i) {
            return ph_fail(err, PH_E_DATA, "field \"%s\" is there twice", fields[i].name);
        }
        *seen |= 1U << i;
        rc = fields[i].read(r, member->value, err);
        if (rc < 0) {
            (void)ph_fail_prefix(err, "field \"%s\"", fields[i].name);
        }
        return rc;
    }
    return fail_unknown(name, err);
}

int ph_ndjson_parse(struct ph_arena *arena, struct ph_str line, struct ph_outbox_event *out,
                    struct ph_error *err)
{
    *out = (struct ph_outbox_event){0};
    struct reading reading = {arena, out};
    struct ph_json_walk walk = ph_json_walk_object(line);
    struct ph_json_member member;
    unsigned seen = 0;
    int more;
    while ((more = ph_json_next(&walk, &member, err)) == 1) {
        int rc = read_member(&reading, &member, &seen, err);
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; more == 0 && i < FIELD_COUNT; i++) {
        if (fields[i].needed && !(seen & 1U << i)) {
            return ph_fail(err, PH_E_DATA, "field \"%s\" is missing%s", fields[i].name,
                           strcmp(fields[i].name, "payload") == 0 ? " (write null for a tombstone)"
                                                                  : "");
        }
    }
    return more;
}
