/*
 * Checkpoints to and from the text that sinks keep.
 * Promise: what is not whole is refused, so that a pipeline never goes on from half a checkpoint.
 */
#include "core/checkpoint_json.h"

#include "base/json.h"

#define VERSION 1

void ph_checkpoint_json(const struct ph_checkpoint *cp, int64_t serial, struct ph_buf *out)
{
    ph_buf_putc(out, '{');
    ph_json_put_member_i64(out, "version", VERSION);
    ph_json_put_member_i64(out, "serial", serial);
    ph_json_put_member_i64(out, "tick", cp->at.tick);
    ph_json_put_member_i64(out, "position", cp->at.position);
    ph_json_put_member(out, "snapshot", cp->snapshot);
    ph_json_put_member(out, "base_snapshot", cp->base_snapshot);
    ph_json_put_member(out, "start_snapshot", cp->start_snapshot);
    ph_json_put_member(out, "log", cp->log);
    ph_json_put_member_i64(out, "timeline", cp->timeline);
    ph_json_put_member_i64(out, "epoch", cp->epoch);
    ph_buf_putc(out, '}');
}

/* The members, and where each goes. */
struct read {
    struct ph_checkpoint cp;
    int64_t serial, version, timeline;
};

static const struct member {
    const char *name;
    size_t offset;
    bool is_text;
} members[] = {
    {"version", offsetof(struct read, version), false},
    {"serial", offsetof(struct read, serial), false},
    {"tick", offsetof(struct read, cp.at.tick), false},
    {"position", offsetof(struct read, cp.at.position), false},
    {"snapshot", offsetof(struct read, cp.snapshot), true},
    {"base_snapshot", offsetof(struct read, cp.base_snapshot), true},
    {"start_snapshot", offsetof(struct read, cp.start_snapshot), true},
    {"log", offsetof(struct read, cp.log), true},
    {"timeline", offsetof(struct read, timeline), false},
    {"epoch", offsetof(struct read, cp.epoch), false},
};

#define MEMBERS (sizeof members / sizeof *members)

static int read_value(const struct member *member, struct ph_str value, struct ph_arena *arena,
                      struct read *out, struct ph_error *err)
{
    char *at = (char *)out + member->offset;
    if (member->is_text) {
        return ph_json_string(arena, value, (struct ph_str *)(void *)at, err);
    }
    int64_t number;
    if (!ph_str_i64(value, &number) || number < 0) {
        return ph_fail(err, PH_E_DATA, "%s is not a number", member->name);
    }
    memcpy(at, &number, sizeof number);
    return 0;
}

/* Takes one member; notes it in *seen. */
static int read_member(const struct ph_json_member *json, struct ph_arena *arena, struct read *out,
                       unsigned *seen, struct ph_error *err)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (ph_str_is(json->name, members[i].name)) {
            if (*seen & (1U << i)) {
                return ph_fail(err, PH_E_DATA, "%s is there twice", members[i].name);
            }
            *seen |= 1U << i;
            return read_value(&members[i], json->value, arena, out, err);
        }
    }
    return 0;
}

int ph_checkpoint_json_parse(struct ph_str text, struct ph_arena *arena, struct ph_checkpoint *ret,
                             int64_t *ret_serial, struct ph_error *err)
{
    struct read out = {0};
    struct ph_json_walk walk = ph_json_walk_object(text);
    struct ph_json_member json;
    unsigned seen = 0;
    int more;
    while ((more = ph_json_next(&walk, &json, err)) == 1) {
        int rc = read_member(&json, arena, &out, &seen, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (more < 0) {
        return more;
    }
    if (seen != (1U << MEMBERS) - 1 || out.version < VERSION || out.timeline > INT32_MAX) {
        return ph_fail(err, PH_E_DATA, "it is not a whole checkpoint of version %d", VERSION);
    }
    out.cp.timeline = (int)out.timeline;
    *ret = out.cp;
    *ret_serial = out.serial;
    return 0;
}
