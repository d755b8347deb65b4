/*
 * Changes of parked rows as JSON, which is how both databases take them. What the rows mean is in
 * park.h; who makes changes is pipeline_park.c.
 */
#include "core/park.h"

#include "base/json.h"

static const char *const act_names[] = {
    [PH_PARK_PUT] = "put",     [PH_PARK_SENT] = "sent", [PH_PARK_FAILED] = "failed",
    [PH_PARK_QUEUE] = "queue", [PH_PARK_TOLD] = "told",
};
static const char *const state_names[] = {
    [PH_PARK_PARKED] = "parked",
    [PH_PARK_DEAD] = "dead",
    [PH_PARK_SCHEDULED] = "scheduled",
};

static void put_name(struct ph_buf *out, const char *name)
{
    ph_buf_puts(out, ",\"");
    ph_buf_puts(out, name);
    ph_buf_puts(out, "\":");
}

static void put_text(struct ph_buf *out, const char *name, struct ph_str text)
{
    put_name(out, name);
    if (text.ptr) {
        ph_json_put_string(out, text);
    } else {
        ph_buf_puts(out, "null");
    }
}

static void put_number(struct ph_buf *out, const char *name, int64_t value)
{
    put_name(out, name);
    ph_buf_put_i64(out, value);
}

static void put_change(struct ph_buf *out, const struct ph_park_change *change)
{
    ph_buf_puts(out, "{\"act\":\"");
    ph_buf_puts(out, act_names[change->act]);
    ph_buf_putc(out, '"');
    put_text(out, "state", ph_str_from(state_names[change->state]));
    put_number(out, "tick", change->at.tick);
    put_number(out, "position", change->at.position);
    put_number(out, "attempts", change->attempts);
    put_name(out, "passed");
    ph_buf_puts(out, change->passed ? "true" : "false");
    if (change->wait_ms < 0) {
        put_text(out, "wait_ms", (struct ph_str){NULL, 0});
    } else {
        put_number(out, "wait_ms", change->wait_ms);
    }
    put_text(out, "key", change->key);
    put_text(out, "error", change->error);
    ph_buf_putc(out, '}');
}

void ph_park_json(const struct ph_park_change *changes, size_t count, struct ph_buf *out)
{
    ph_buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            ph_buf_putc(out, ',');
        }
        put_change(out, &changes[i]);
    }
    ph_buf_putc(out, ']');
}
