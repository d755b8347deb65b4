/*
 * An application's events, checked and made ready to be stored.
 * Place: the public calls of postgres.c and sqlite.c begin and end here.
 * Promise: what a database or the relay would refuse is refused here where it can be seen, before
 * the caller's transaction is touched; no error quotes what an event holds.
 */
#include "publish/event.h"

#include <assert.h>

#include "base/json.h"
#include "base/sys.h"

static int refuse(struct ph_error *err, const char *name, const char *why)
{
    return ph_fail(err, PH_E_DATA, "%s %s", name, why);
}

/* A text of the event, without its '\0'; text may be NULL when it is not required. */
static int take_name(struct ph_error *err, const char *name, const char *text, bool required,
                     struct ph_str *out)
{
    if (!text && !required) {
        return 0;
    }
    if (!text || *text == '\0') {
        return refuse(err, name, "must not be empty");
    }
    *out = (struct ph_str){text, strnlen(text, POSTHORN_NAME_MAX + 1)};
    if (out->len > POSTHORN_NAME_MAX) {
        return ph_fail(err, PH_E_DATA, "%s is longer than %d bytes", name, POSTHORN_NAME_MAX);
    }
    return ph_str_utf8(*out) ? 0 : refuse(err, name, "is not UTF-8");
}

static int take_id(struct ph_error *err, const char *text, struct ph_uuid *out)
{
    if (!text) {
        ph_uuid_random(out);
        return 0;
    }
    struct ph_str id = {text, strnlen(text, PH_UUID_TEXT_LEN + 1)};
    return ph_uuid_parse(id, out) ? 0 : refuse(err, "id", "is not a UUID");
}

/* --- headers -----------------------------------------------------------------------------------
 */

static int check_header(struct ph_error *err, const struct posthorn_header *headers, size_t at,
                        size_t *bytes)
{
    const struct posthorn_header *h = &headers[at];
    if (!h->name || *h->name == '\0') {
        return ph_fail(err, PH_E_DATA, "headers[%zu]: the name must not be empty", at);
    }
    if (!h->value) {
        return ph_fail(err, PH_E_DATA, "headers[%zu]: the value must not be NULL", at);
    }
    struct ph_str name = {h->name, strnlen(h->name, POSTHORN_HEADERS_MAX + 1)};
    struct ph_str value = {h->value, strnlen(h->value, POSTHORN_HEADERS_MAX + 1)};
    *bytes += name.len + value.len;
    if (*bytes > POSTHORN_HEADERS_MAX) {
        return ph_fail(err, PH_E_DATA, "the headers are longer than %d bytes",
                       POSTHORN_HEADERS_MAX);
    }
    if (!ph_str_utf8(name) || !ph_str_utf8(value)) {
        return ph_fail(err, PH_E_DATA, "headers[%zu] is not UTF-8", at);
    }
    for (size_t i = 0; i < at; i++) {
        if (strcmp(headers[i].name, h->name) == 0) {
            return ph_fail(err, PH_E_DATA, "headers[%zu] has the name of headers[%zu]", at, i);
        }
    }
    return 0;
}

/* Writes the headers behind what out holds; *len is what came. */
static int put_headers(const struct posthorn_event *event, struct ph_buf *out, size_t *len,
                       struct ph_error *err)
{
    size_t start = out->len, bytes = 0;
    if (event->header_count > POSTHORN_HEADER_MAX) {
        return ph_fail(err, PH_E_DATA, "more than %d headers", POSTHORN_HEADER_MAX);
    }
    if (event->header_count > 0 && !event->headers) {
        return ph_fail(err, PH_E_USAGE, "headers is NULL, but header_count is not 0");
    }
    ph_buf_putc(out, '{');
    for (size_t i = 0; i < event->header_count; i++) {
        int rc = check_header(err, event->headers, i, &bytes);
        if (rc < 0) {
            return rc;
        }
        if (i > 0) {
            ph_buf_putc(out, ',');
        }
        ph_json_put_string(out, ph_str_from(event->headers[i].name));
        ph_buf_putc(out, ':');
        ph_json_put_string(out, ph_str_from(event->headers[i].value));
    }
    ph_buf_putc(out, '}');
    *len = out->len - start;
    if (!out->failed && *len > POSTHORN_HEADERS_MAX) {
        return ph_fail(err, PH_E_DATA, "the headers are longer than %d bytes as JSON",
                       POSTHORN_HEADERS_MAX);
    }
    return ph_buf_check(out, "the headers", err);
}

/* --- payload -----------------------------------------------------------------------------------
 */

/* Inside checked JSON: the code of the \u escape at ptr, or -1 when there is none. */
static int unicode_escape(const char *ptr, const char *end)
{
    int code = 0;
    if (end - ptr < 6 || ptr[0] != '\\' || ptr[1] != 'u') {
        return -1;
    }
    for (int i = 2; i < 6; i++) {
        char c = ptr[i];
        code = code * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return code;
}

/* JSON may name characters that PostgreSQL's jsonb cannot hold: U+0000, and halves of a surrogate
 * pair. SQLite would keep them for a sink to stumble over. */
static bool storable(struct ph_str json)
{
    const char *end = json.ptr + json.len;
    const char *at = memchr(json.ptr, '\\', json.len);
    while (at) {
        int code = unicode_escape(at, end);
        int low = code >= 0xD800 && code <= 0xDBFF ? unicode_escape(at + 6, end) : -1;
        bool pair = low >= 0xDC00 && low <= 0xDFFF;
        if (code == 0 || (code >= 0xD800 && code <= 0xDFFF && !pair)) {
            return false;
        }
        at += code < 0 ? 2 : pair ? 12 : 6;
        at = memchr(at, '\\', (size_t)(end - at));
    }
    return true;
}

static int take_json(struct ph_error *err, struct ph_str payload)
{
    struct ph_error why = {0};
    if (ph_json_check(payload, &why) < 0) {
        return ph_fail(err, PH_E_DATA,
                       "payload: %s; set content_type when it is not meant to be JSON", why.text);
    }
    if (!storable(payload)) {
        return refuse(err, "payload",
                      "has a \\u escape that no text can hold (\\u0000, or half a "
                      "surrogate pair)");
    }
    return 0;
}

static int take_payload(struct ph_error *err, const struct posthorn_event *event,
                        struct ph_publish_row *row)
{
    struct ph_str payload = {event->payload, event->payload_bytes};
    int rc = take_name(err, "content_type", event->content_type, false, &row->content_type);
    if (rc < 0) {
        return rc;
    }
    if (!payload.ptr) {
        return payload.len == 0
                   ? 0
                   : ph_fail(err, PH_E_USAGE, "payload is NULL, but payload_bytes is not 0");
    }
    if (payload.len > POSTHORN_PAYLOAD_MAX) {
        return ph_fail(err, PH_E_DATA, "payload is longer than %d bytes", POSTHORN_PAYLOAD_MAX);
    }
    if (row->content_type.ptr) {
        row->payload_bytes = payload;
        return 0;
    }
    row->payload = payload;
    return take_json(err, payload);
}

/* --- events ------------------------------------------------------------------------------------
 */

static bool reserved_used(const struct posthorn_event *event)
{
    bool used = (event->flags & ~POSTHORN_STRICT) != 0 || event->reserved_0 != 0;
    for (size_t i = 0; i < sizeof event->reserved_1 / sizeof *event->reserved_1; i++) {
        used = used || event->reserved_1[i] != NULL;
    }
    return used;
}

/* headers_json holds a length only: the buffer may still move. */
static int take_event(const struct posthorn_event *event, struct ph_publish_row *row,
                      struct ph_buf *headers, struct ph_error *err)
{
    *row = (struct ph_publish_row){.strict = (event->flags & POSTHORN_STRICT) != 0};
    if (reserved_used(event)) {
        return ph_fail(err, PH_E_USAGE, "the event has an unknown flag, or was not zeroed first");
    }
    int rc = take_name(err, "aggregate_type", event->aggregate_type, true, &row->aggregate_type);
    if (rc == 0) {
        rc = take_name(err, "aggregate_id", event->aggregate_id, true, &row->aggregate_id);
    }
    if (rc == 0) {
        rc = take_name(err, "event_type", event->event_type, true, &row->event_type);
    }
    if (rc == 0) {
        rc = take_payload(err, event, row);
    }
    if (rc == 0) {
        rc = put_headers(event, headers, &row->headers_json.len, err);
    }
    return rc < 0 ? rc : take_id(err, event->id, &row->id);
}

static size_t row_bytes(const struct ph_publish_row *row)
{
    return row->aggregate_type.len + row->aggregate_id.len + row->event_type.len +
           row->headers_json.len + row->payload.len + row->payload_bytes.len +
           row->content_type.len;
}

static int take_events(const struct posthorn_event *events, struct ph_publish_batch *batch,
                       struct ph_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct ph_publish_row *row = &batch->rows[i];
        int rc = take_event(&events[i], row, &batch->headers, err);
        if (rc < 0) {
            if (batch->count > 1) {
                (void)ph_fail_prefix(err, "event %zu", i);
            }
            return rc;
        }
        batch->strict_count += row->strict;
        bytes += row_bytes(row);
        if (bytes > POSTHORN_BATCH_BYTES) {
            return ph_fail(err, PH_E_USAGE, "the batch is larger than %d bytes; split it",
                           POSTHORN_BATCH_BYTES);
        }
    }
    return 0;
}

int ph_publish_check(const struct posthorn_event *events, size_t count,
                     struct ph_publish_batch *batch, struct ph_error *err)
{
    *batch = (struct ph_publish_batch){.count = count, .rows = &batch->one};
    ph_buf_init(&batch->headers, POSTHORN_BATCH_BYTES);
    if (count == 0) {
        return 0;
    }
    if (!events) {
        return ph_fail(err, PH_E_USAGE, "no event was given (NULL)");
    }
    if (count > POSTHORN_BATCH_MAX) {
        return ph_fail(err, PH_E_USAGE, "a batch has at most %d events; split it",
                       POSTHORN_BATCH_MAX);
    }
    if (count > 1) {
        batch->rows = ph_mem_zero(count, sizeof *batch->rows);
        if (!batch->rows) {
            return ph_fail(err, PH_E_NOMEM, "out of memory");
        }
    }
    int rc = take_events(events, batch, err);
    const char *at = ph_buf_text(&batch->headers);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        batch->rows[i].headers_json.ptr = at;
        at += batch->rows[i].headers_json.len;
    }
    return rc;
}

void ph_publish_free(struct ph_publish_batch *batch)
{
    if (batch) {
        if (batch->rows != &batch->one) {
            ph_mem_free(batch->rows);
        }
        batch->rows = NULL;
        ph_buf_free(&batch->headers);
    }
}

/* --- outcome -----------------------------------------------------------------------------------
 */

static enum posthorn_status public_status(int code)
{
    switch (code) {
    case 0:
        return POSTHORN_OK;
    case PH_E_USAGE:
        return POSTHORN_E_USAGE;
    case PH_E_DATA:
        return POSTHORN_E_DATA;
    case PH_E_CONFIG:
        return POSTHORN_E_SCHEMA;
    case PH_E_SOFTWARE:
        return POSTHORN_E_INTERNAL;
    default:
        return ph_code_class(code) == PH_RETRIABLE ? POSTHORN_E_UNAVAILABLE : POSTHORN_E_INTERNAL;
    }
}

static void put_error(struct posthorn_error *error, int status, const char *text)
{
    _Static_assert(sizeof error->text >= PH_ERROR_TEXT_MAX, "an error's text fits");
    if (error) {
        error->status = status;
        memcpy(error->text, text, strlen(text) + 1);
    }
}

int ph_publish_end(struct ph_publish_batch *batch, char (*ids)[POSTHORN_ID_SIZE], int rc,
                   const struct ph_error *err, struct posthorn_error *error)
{
    int status = public_status(rc);
    put_error(error, status, rc < 0 ? err->text : "");
    for (size_t i = 0; rc == 0 && ids && i < batch->count; i++) {
        ph_uuid_format(&batch->rows[i].id, ids[i]);
    }
    ph_publish_free(batch);
    return status;
}

const char *posthorn_version(void)
{
    return PH_VERSION;
}

const char *posthorn_status_name(int status)
{
    static const char *const names[] = {"OK", "USAGE", "DATA", "UNAVAILABLE", "SCHEMA", "INTERNAL"};
    bool known = status <= POSTHORN_OK && status >= POSTHORN_E_INTERNAL;
    return known ? names[-status] : "UNKNOWN";
}
