/*
 * The lines of the file and stdout sinks: writing one, reading one back, and the feed between
 * submitted batches and lines. The sinks only move bytes.
 * Promise: one event is one line, whatever bytes it holds; an event gets its verdict after its line
 * was written and after all before it; one too large for a line is rejected and stops the feed.
 */
#include "sink/ndjson.h"

#include <assert.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/sys.h"
#include "core/envelope.h"
#include "core/park.h"

#define LINES_MAX   ((size_t)1 << 20) /* in lines when the next is put */
#define SHRINK_SIZE ((size_t)4 << 20) /* a larger buffer is given back once it is empty */
#define ESCAPED_MAX 6                 /* bytes that one byte of a string may become */
#define FIXED_BYTES 512               /* names, punctuation, id, position, time */

/* --- a line ----------------------------------------------------------------------------------- */

/* JSON as it is, but in one line: a line end in it can only be white space. */
static void put_json(struct ph_buf *buf, struct ph_str json)
{
    for (;;) {
        const char *end = json.len > 0 ? memchr(json.ptr, '\n', json.len) : NULL;
        size_t run = end ? (size_t)(end - json.ptr) : json.len;
        ph_buf_put(buf, json.ptr, run);
        if (!end) {
            return;
        }
        ph_buf_putc(buf, ' ');
        json.ptr += run + 1;
        json.len -= run + 1;
    }
}

static void put_payload(struct ph_buf *buf, const struct ph_event *event)
{
    if (event->payload.ptr && event->content_type.ptr) {
        ph_json_put_member(buf, "contentType", event->content_type);
        ph_json_put_name(buf, "payloadBase64");
        ph_buf_putc(buf, '"');
        ph_base64_put(buf, event->payload);
        ph_buf_putc(buf, '"');
        return;
    }
    ph_json_put_name(buf, "payload");
    put_json(buf, event->payload.ptr ? event->payload : PH_STR("null"));
}

void ph_ndjson_put(struct ph_buf *buf, const struct ph_event *event)
{
    assert(buf && event);
    char id[PH_UUID_TEXT_LEN + 1], time[PH_TIME_TEXT_LEN + 1], position[PH_POSITION_TEXT_MAX];
    ph_uuid_format(&event->id, id);
    ph_time_format(event->created_us, time);
    size_t position_len = ph_position_format(ph_event_at(event), position);
    ph_buf_put_str(buf, PH_STR(PH_NDJSON_START));
    ph_buf_put(buf, id, PH_UUID_TEXT_LEN);
    ph_buf_putc(buf, '"');
    ph_json_put_member(buf, "type", event->event_type);
    ph_json_put_member(buf, "aggregateType", event->aggregate_type);
    ph_json_put_member(buf, "aggregateId", event->aggregate_id);
    ph_json_put_member(buf, "position", (struct ph_str){position, position_len});
    ph_json_put_member(buf, "createdAt", (struct ph_str){time, PH_TIME_TEXT_LEN});
    ph_json_put_name(buf, "headers");
    put_json(buf, event->headers_json.len > 0 ? event->headers_json : PH_STR("{}"));
    put_payload(buf, event);
    ph_buf_put(buf, "}\n", 2);
}

/* As long as the line of an event may become. */
static size_t length_bound(const struct ph_event *event)
{
    size_t strings = event->event_type.len + event->aggregate_type.len + event->aggregate_id.len +
                     event->content_type.len;
    size_t payload =
        event->content_type.ptr ? ph_base64_len(event->payload.len) : event->payload.len;
    return FIXED_BYTES + ESCAPED_MAX * strings + payload + event->headers_json.len;
}

/* --- reading back ----------------------------------------------------------------------------- */

struct line_fields {
    struct ph_str id, position, key;
    bool late;
};

/* What the relay adds stands in front of the event's own headers. */
static bool tells_late(struct ph_str headers)
{
    return ph_str_starts(headers, PH_STR("{\"" PH_HEADER_SCHEDULED "\":\"true\"")) ||
           ph_str_starts(headers, PH_STR("{\"" PH_HEADER_REDRIVEN "\":\"true\""));
}

/* Keeps the text of the member if it is one of those wanted. */
static int take_member(struct ph_arena *arena, const struct ph_json_member *member,
                       struct line_fields *fields, struct ph_error *err)
{
    struct ph_str *out = ph_str_is(member->name, "id")            ? &fields->id
                         : ph_str_is(member->name, "position")    ? &fields->position
                         : ph_str_is(member->name, "aggregateId") ? &fields->key
                                                                  : NULL;
    fields->late |= ph_str_is(member->name, "headers") && tells_late(member->value);
    return out ? ph_json_string(arena, member->value, out, err) : 0;
}

int ph_ndjson_record(struct ph_arena *arena, struct ph_str line, struct ph_record *out,
                     struct ph_error *err)
{
    assert(arena && out);
    struct ph_json_walk walk = ph_json_walk_object(line);
    struct ph_json_member member;
    struct line_fields fields = {.late = false};
    int rc;
    while ((rc = ph_json_next(&walk, &member, err)) == 1) {
        rc = take_member(arena, &member, &fields, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (rc < 0) {
        return rc;
    }
    struct ph_record record = {.key = fields.key, .late = fields.late};
    if (!fields.id.ptr || !ph_uuid_parse(fields.id, &record.id)) {
        return ph_fail(err, PH_E_DATA, "\"id\" is absent or no UUID");
    }
    if (!fields.position.ptr || !ph_position_parse(fields.position, &record.at)) {
        return ph_fail(err, PH_E_DATA, "\"position\" is absent or not TICK-POSITION");
    }
    *out = record;
    return 0;
}

/* --- feed ------------------------------------------------------------------------------------- */

int ph_feed_init(struct ph_feed *feed, size_t window_batches, struct ph_error *err)
{
    assert(feed && window_batches > 0);
    *feed = (struct ph_feed){.cap = window_batches};
    ph_buf_init(&feed->lines, LINES_MAX + PH_NDJSON_LINE_MAX);
    feed->batches = ph_mem_zero(window_batches, sizeof *feed->batches);
    return feed->batches ? 0 : ph_fail(err, PH_E_NOMEM, "no memory for the window");
}

void ph_feed_free(struct ph_feed *feed)
{
    if (feed) {
        ph_buf_free(&feed->lines);
        ph_mem_free(feed->batches);
        feed->batches = NULL;
        feed->count = 0;
    }
}

void ph_feed_submit(struct ph_feed *feed, struct ph_batch *batch)
{
    assert(feed && batch && feed->count < feed->cap);
    feed->batches[feed->count++] = (struct ph_feed_batch){batch, batch->generation};
}

/* The next event to put, NULL when there is none. */
static struct ph_event *next_event(struct ph_feed *feed)
{
    for (; feed->put_batch < feed->count; feed->put_batch++, feed->put_event = 0) {
        const struct ph_feed_batch *at = &feed->batches[feed->put_batch];
        assert(at->batch->generation == at->generation);
        for (; feed->put_event < at->batch->count; feed->put_event++) {
            struct ph_event *event = &at->batch->events[feed->put_event];
            if (event->verdict == PH_PENDING) {
                return event;
            }
        }
    }
    return NULL;
}

bool ph_feed_more(struct ph_feed *feed)
{
    assert(feed);
    return !feed->stopped && !feed->too_large && next_event(feed);
}

/* Takes off what is behind the first len bytes, and a failure with it. */
static void cut_lines(struct ph_buf *lines, size_t len)
{
    lines->failed = false;
    lines->len = len;
    if (lines->ptr) {
        lines->ptr[len] = '\0';
    }
}

int ph_feed_put(struct ph_feed *feed, struct ph_error *err)
{
    assert(feed && feed->lines.len <= LINES_MAX);
    if (!ph_feed_more(feed)) {
        return 0;
    }
    const struct ph_event *event = next_event(feed);
    struct ph_buf *lines = &feed->lines;
    size_t before = lines->len;
    ph_ndjson_put(lines, event);
    if (!lines->failed && lines->len - before <= PH_NDJSON_LINE_MAX) {
        feed->put_event++;
        return 1;
    }
    bool memory = lines->failed && length_bound(event) <= PH_NDJSON_LINE_MAX;
    cut_lines(lines, before);
    if (memory) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a line of at most %zu bytes",
                       length_bound(event));
    }
    feed->too_large = true;
    return 0;
}

/* Gives SENT to the events from first up to end. */
static void send_range(struct ph_batch *batch, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (batch->events[i].verdict == PH_PENDING) {
            ph_batch_verdict(batch, &batch->events[i], PH_SENT, NULL);
        }
    }
}

void ph_feed_sent(struct ph_feed *feed)
{
    assert(feed);
    struct ph_event *next = next_event(feed); /* now put_batch has no other events behind it */
    size_t done = feed->put_batch;
    for (size_t i = 0; i < done; i++) {
        struct ph_batch *batch = feed->batches[i].batch;
        send_range(batch, i == 0 ? feed->sent_event : 0, batch->count);
    }
    if (done > 0) {
        memmove(feed->batches, feed->batches + done, (feed->count - done) * sizeof *feed->batches);
        feed->count -= done;
        feed->put_batch = 0;
        feed->sent_event = 0;
    }
    if (feed->count > 0) {
        send_range(feed->batches[0].batch, feed->sent_event, feed->put_event);
        feed->sent_event = feed->put_event;
    }
    if (feed->too_large && !feed->stopped) {
        feed->stopped = true;
        ph_batch_verdict(feed->batches[0].batch, next, PH_REJECT,
                         "its line would be longer than 64 MiB");
    }
}

/* Empties lines, and gives memory back that one large line needed. */
static void empty_lines(struct ph_buf *lines)
{
    if (lines->size > SHRINK_SIZE) {
        ph_buf_free(lines);
    }
    ph_buf_clear(lines);
}

void ph_feed_written(struct ph_feed *feed)
{
    assert(feed);
    empty_lines(&feed->lines);
}

void ph_feed_rewind(struct ph_feed *feed)
{
    assert(feed);
    empty_lines(&feed->lines);
    feed->put_batch = 0;
    feed->put_event = feed->sent_event;
    feed->too_large = feed->stopped;
}

void ph_feed_forget(struct ph_feed *feed)
{
    assert(feed);
    feed->count = 0;
    feed->put_batch = feed->put_event = feed->sent_event = 0;
    feed->too_large = feed->stopped = false;
}
