/*
 * Fuzz target: one NDJSON line. Nothing is read out of bounds; what is taken has all its fields,
 * payload and headers are slices of the line and whole JSON values, and texts are UTF-8.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/ndjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool inside(struct ph_str text, struct ph_str slice)
{
    return slice.ptr >= text.ptr && slice.ptr + slice.len <= text.ptr + text.len;
}

static void must_be_text(struct ph_str text)
{
    must(text.ptr && text.len > 0 && ph_str_utf8(text) && !memchr(text.ptr, 0, text.len));
}

static void look_at(struct ph_str line, const struct ph_outbox_event *event)
{
    must_be_text(event->aggregate_type);
    must_be_text(event->aggregate_id);
    must_be_text(event->event_type);
    if (event->payload.ptr) {
        must(inside(line, event->payload) && ph_json_check(event->payload, NULL) == 0);
        must(!ph_json_is_null(event->payload));
    }
    if (event->headers.ptr) {
        must(inside(line, event->headers) && ph_json_check(event->headers, NULL) == 0);
        must(ph_json_is_object(event->headers));
    }
    struct ph_uuid id;
    must(!event->id.ptr || ph_uuid_parse(event->id, &id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1); /* of the exact size, so that a byte too far is seen */
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ph_str line = {copy, size};
    struct ph_arena arena;
    struct ph_outbox_event event;
    struct ph_error err = {0};
    ph_arena_init(&arena, (size_t)1 << 20);
    int rc = ph_ndjson_parse(&arena, line, &event, &err);
    if (rc == 0) {
        look_at(line, &event);
    } else {
        must(err.code == rc && err.text[0] != '\0');
    }
    ph_arena_free(&arena);
    free(copy);
    return 0;
}
