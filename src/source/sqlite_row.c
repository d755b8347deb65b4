/*
 * A row of posthorn_outbox as an event. Columns of SQLite hold whatever was put into them; the
 * CHECKs of the schema refuse much of what is wrong, but they cannot ask for JSON, and who owns the
 * file can turn them off.
 * Promise: a row that is no event is told from one that is; texts are UTF-8 without a zero byte,
 * payload and headers are JSON.
 */
#include "base/json.h"
#include "source/sqlite.h"

/* The columns of q_read.sql, and the first ones of q_due.sql. */
enum {
    COL_POSITION,
    COL_EVENT_ID,
    COL_CREATED_AT,
    COL_AGGREGATE_TYPE,
    COL_AGGREGATE_ID,
    COL_EVENT_TYPE,
    COL_CONTENT_TYPE,
    COL_HEADERS,
    COL_PAYLOAD,
    COL_PAYLOAD_BYTES,
    COL_DELIVER_AFTER,
};

int64_t ph_sqlite_row_position(sqlite3_stmt *stmt)
{
    return sqlite3_column_int64(stmt, COL_POSITION);
}

/* Eight bytes at a time as long as they are ASCII without a zero byte. */
static bool is_clean(struct ph_str s)
{
    size_t at = 0;
    for (uint64_t word; s.len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, s.ptr + at, sizeof word);
        if (((word | (word - 0x0101010101010101u)) & 0x8080808080808080u) != 0) {
            break;
        }
    }
    if (at == s.len) {
        return true;
    }
    struct ph_str rest = {s.ptr + at, s.len - at};
    return !memchr(rest.ptr, '\0', rest.len) && ph_str_utf8(rest);
}

static bool is_json(struct ph_str s)
{
    return ph_json_check(s, NULL) == 0;
}

static bool is_headers(struct ph_str s)
{
    size_t at = 0;
    while (at < s.len && memchr(" \t\r\n", s.ptr[at], 4)) {
        at++;
    }
    return ph_str_is(s, "{}") || (at < s.len && s.ptr[at] == '{' && is_json(s));
}

struct text_column {
    int column;
    bool needed;
    bool (*is_good)(struct ph_str text);
    const char *flaw;
};

static const struct text_column text_columns[] = {
    {COL_AGGREGATE_TYPE, true, is_clean, "aggregate_type is no text, is empty or is not UTF-8"},
    {COL_AGGREGATE_ID, true, is_clean, "aggregate_id is no text, is empty or is not UTF-8"},
    {COL_EVENT_TYPE, true, is_clean, "event_type is no text, is empty or is not UTF-8"},
    {COL_CONTENT_TYPE, false, is_clean, "content_type is no text or is not UTF-8"},
    {COL_HEADERS, true, is_headers, "headers is no JSON object"},
    {COL_PAYLOAD, false, is_json, "payload is no JSON; other bytes belong into payload_bytes"},
};

#define TEXT_COUNT (sizeof text_columns / sizeof text_columns[0])

/* The slices of an event that copying has to move. */
static struct ph_str *slice_of(struct ph_event *event, int column)
{
    switch (column) {
    case COL_AGGREGATE_TYPE:
        return &event->aggregate_type;
    case COL_AGGREGATE_ID:
        return &event->aggregate_id;
    case COL_EVENT_TYPE:
        return &event->event_type;
    case COL_CONTENT_TYPE:
        return &event->content_type;
    case COL_HEADERS:
        return &event->headers_json;
    default:
        return &event->payload;
    }
}

/* Puts the columns into event where they lie; why the row is no event, or NULL. */
static const char *take_texts(sqlite3_stmt *stmt, struct ph_event *event)
{
    const char *flaw = NULL;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        const struct text_column *c = &text_columns[i];
        struct ph_str text = {NULL, 0};
        int type = sqlite3_column_type(stmt, c->column);
        bool good = type == SQLITE_NULL && !c->needed;
        if (type == SQLITE_TEXT) {
            const char *bytes = sqlite3_column_blob(stmt, c->column); /* NULL when it is empty */
            text =
                (struct ph_str){bytes ? bytes : "", (size_t)sqlite3_column_bytes(stmt, c->column)};
            good = (text.len > 0 || !c->needed) && c->is_good(text);
        }
        *slice_of(event, c->column) = good ? text : (struct ph_str){NULL, 0};
        flaw = good || flaw ? flaw : c->flaw;
    }
    return flaw;
}

/* Beside a JSON payload a content type means nothing. */
static const char *take_bytes(sqlite3_stmt *stmt, struct ph_event *event)
{
    struct ph_str bytes = ph_sqlite_column(stmt, COL_PAYLOAD_BYTES);
    if (!bytes.ptr) {
        event->content_type = (struct ph_str){NULL, 0};
        return NULL;
    }
    if (event->payload.ptr) {
        return "the row has both payload and payload_bytes";
    }
    event->payload = bytes;
    if (!event->content_type.ptr) {
        event->content_type = PH_STR("application/octet-stream");
    }
    return NULL;
}

/* Milliseconds as microseconds; false, and 0, for what is no such number. */
static bool take_time(sqlite3_stmt *stmt, int column, int64_t *ret_us)
{
    bool good = sqlite3_column_type(stmt, column) == SQLITE_INTEGER &&
                !__builtin_mul_overflow(sqlite3_column_int64(stmt, column), 1000, ret_us);
    *ret_us = good ? *ret_us : 0;
    return good;
}

static const char *take_fixed(sqlite3_stmt *stmt, struct ph_event *event)
{
    event->position = ph_sqlite_row_position(stmt);
    const char *flaw = NULL;
    if (!take_time(stmt, COL_CREATED_AT, &event->created_us)) {
        flaw = "created_at is no number of milliseconds";
    }
    if (!take_time(stmt, COL_DELIVER_AFTER, &event->deliver_after_us) &&
        sqlite3_column_type(stmt, COL_DELIVER_AFTER) != SQLITE_NULL) {
        flaw = "deliver_after is no number of milliseconds";
    }
    if (!ph_uuid_parse(ph_sqlite_column(stmt, COL_EVENT_ID), &event->id)) {
        event->id = (struct ph_uuid){{0}};
        flaw = "event_id is no UUID";
    }
    return flaw;
}

/* Moves the slices from the statement into one block of the arena. */
static bool copy_slices(struct ph_arena *arena, struct ph_event *event)
{
    size_t len = 0;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        len += slice_of(event, text_columns[i].column)->len;
    }
    char *at = ph_arena_alloc(arena, len);
    if (!at) {
        return false;
    }
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        struct ph_str *slice = slice_of(event, text_columns[i].column);
        if (slice->ptr) {
            memcpy(at, slice->ptr, slice->len);
            slice->ptr = at;
            at += slice->len;
        }
    }
    return true;
}

bool ph_sqlite_row_take(sqlite3_stmt *stmt, struct ph_arena *arena, struct ph_event *event,
                        const char **flaw)
{
    const char *fixed = take_fixed(stmt, event);
    const char *texts = take_texts(stmt, event);
    const char *bytes = take_bytes(stmt, event);
    *flaw = fixed ? fixed : texts ? texts : bytes;
    return copy_slices(arena, event);
}
