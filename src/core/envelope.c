/*
 * The JSON envelope around a payload, and base64 for payloads that are not JSON. Called by the
 * route when an event's route asks for it.
 * Promise: payload and headers keep their bytes, they are never parsed; what else goes in is
 * escaped.
 */
#include "core/envelope.h"

#include <assert.h>

#include "base/clock.h"
#include "base/json.h"

#define FIXED_BYTES 256 /* names, punctuation, id and time */
#define ESCAPED_MAX 6   /* bytes that one byte of a string may become */

_Static_assert(FIXED_BYTES > sizeof("{\"eventId\":\"\",\"eventType\":\"\",\"aggregateType\":\"\","
                                    "\"aggregateId\":\"\",\"contentType\":\"\",\"dataBase64\":\"\","
                                    "\"metadata\":,\"createdAt\":\"\"}") +
                                 PH_UUID_TEXT_LEN + PH_TIME_TEXT_LEN,
               "the names fit");

/* The four characters of up to three bytes. */
static void base64_group(const unsigned char *in, size_t len, char out[4])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = (unsigned)in[0] << 16;
    bits |= len > 1 ? (unsigned)in[1] << 8 : 0;
    bits |= len > 2 ? in[2] : 0;
    out[0] = digits[bits >> 18];
    out[1] = digits[bits >> 12 & 63];
    out[2] = len > 1 ? digits[bits >> 6 & 63] : '=';
    out[3] = len > 2 ? digits[bits & 63] : '=';
}

void ph_base64_put(struct ph_buf *buf, struct ph_str bytes)
{
    assert(buf && (bytes.ptr || bytes.len == 0));
    const unsigned char *in = (const unsigned char *)bytes.ptr;
    char text[1024];
    size_t filled = 0;
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t len = bytes.len - at;
        base64_group(in + at, len < 3 ? len : 3, text + filled);
        filled += 4;
        if (filled == sizeof text) {
            ph_buf_put(buf, text, filled);
            filled = 0;
        }
    }
    ph_buf_put(buf, text, filled);
}

bool ph_headers_empty(struct ph_str headers_json)
{
    return headers_json.len == 0 || ph_str_eq(headers_json, PH_STR("{}"));
}

/* More than the envelope can take. */
static size_t upper_bound(const struct ph_event *event)
{
    size_t strings = event->event_type.len + event->aggregate_type.len + event->aggregate_id.len +
                     event->content_type.len;
    size_t data = event->content_type.ptr ? ph_base64_len(event->payload.len) : event->payload.len;
    return FIXED_BYTES + ESCAPED_MAX * strings + data + event->headers_json.len;
}

static void put_if_present(struct ph_buf *buf, const char *name, struct ph_str value)
{
    if (value.len > 0) {
        ph_json_put_member(buf, name, value);
    }
}

static void put_data(struct ph_buf *buf, const struct ph_event *event)
{
    if (!event->content_type.ptr) {
        ph_json_put_name(buf, "data");
        ph_buf_put_str(buf, event->payload);
        return;
    }
    ph_json_put_member(buf, "contentType", event->content_type);
    ph_json_put_name(buf, "dataBase64");
    ph_buf_putc(buf, '"');
    ph_base64_put(buf, event->payload);
    ph_buf_putc(buf, '"');
}

static void put_envelope(struct ph_buf *buf, const struct ph_event *event)
{
    char id[PH_UUID_TEXT_LEN + 1], time[PH_TIME_TEXT_LEN + 1];
    ph_uuid_format(&event->id, id);
    ph_time_format(event->created_us, time);
    ph_buf_putc(buf, '{');
    ph_json_put_member(buf, "eventId", (struct ph_str){id, PH_UUID_TEXT_LEN});
    put_if_present(buf, "eventType", event->event_type);
    put_if_present(buf, "aggregateType", event->aggregate_type);
    put_if_present(buf, "aggregateId", event->aggregate_id);
    put_data(buf, event);
    if (!ph_headers_empty(event->headers_json)) {
        ph_json_put_name(buf, "metadata");
        ph_buf_put_str(buf, event->headers_json);
    }
    ph_json_put_member(buf, "createdAt", (struct ph_str){time, PH_TIME_TEXT_LEN});
    ph_buf_putc(buf, '}');
}

int ph_envelope_json(struct ph_arena *arena, const struct ph_event *event, struct ph_str *ret,
                     struct ph_error *err)
{
    assert(arena && event && ret);
    if (!event->payload.ptr) {
        *ret = (struct ph_str){NULL, 0};
        return 0;
    }
    size_t cap = upper_bound(event);
    char *room = ph_arena_alloc(arena, cap + 1);
    if (!room) {
        return ph_fail(err, PH_E_NOMEM, "the batch has no room for an envelope of %zu bytes", cap);
    }
    /* a buffer on borrowed memory: as large as its cap, it never grows and is never freed */
    struct ph_buf buf = {.ptr = room, .size = cap + 1, .cap = cap};
    put_envelope(&buf, event);
    assert(!buf.failed && buf.ptr == room);
    *ret = ph_buf_str(&buf);
    return 0;
}
