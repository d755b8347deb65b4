/*
 * Rows of COPY ... TO STDOUT (FORMAT binary): decoding without copying. Every length is checked
 * before it is used, since the server is not trusted to be one. Format:
 * https://www.postgresql.org/docs/current/sql-copy.html (Binary Format); column order:
 * q_read_group.sql, q_read_page.sql.
 */
#include <endian.h>

#include "source/postgres.h"

enum column {
    COL_XID,
    COL_POSITION,
    COL_CREATED_AT,
    COL_EVENT_ID,
    COL_AGGREGATE_TYPE,
    COL_AGGREGATE_ID,
    COL_EVENT_TYPE,
    COL_HEADERS,
    COL_PAYLOAD,
    COL_PAYLOAD_BYTES,
    COL_CONTENT_TYPE,
    COL_DELIVER_AFTER,
    COL_COUNT
};

static const char signature[11] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', '\377', '\r', '\n', '\0'};

/* 2000-01-01 in microseconds since 1970 */
#define PG_EPOCH_US 946684800000000LL

static uint16_t get16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}

static uint32_t get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static int64_t get64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return (int64_t)be64toh(v);
}

int ph_pg_row_skip_header(const char **bytes, size_t *len)
{
    size_t fixed = sizeof signature + 8;
    if (*len < fixed || memcmp(*bytes, signature, sizeof signature) != 0) {
        return -1;
    }
    uint32_t flags = get32(*bytes + sizeof signature);
    size_t extension = get32(*bytes + sizeof signature + 4);
    if (flags > UINT16_MAX || extension > *len - fixed) { /* the upper flags change the rows */
        return -1;
    }
    *bytes += fixed + extension;
    *len -= fixed + extension;
    return 0;
}

/* The two leading columns have a fixed size, so they can be read in place. */
bool ph_pg_row_peek(const char *bytes, size_t len, uint64_t *xid, int64_t *position)
{
    if (len < 26 || get16(bytes) != COL_COUNT || get32(bytes + 2) != 8 || get32(bytes + 14) != 8) {
        return false;
    }
    *xid = (uint64_t)get64(bytes + 6);
    *position = get64(bytes + 18);
    return true;
}

/* Cuts the row into its columns; a NULL has ptr NULL. */
static bool split(const char *bytes, size_t len, struct ph_str columns[COL_COUNT])
{
    if (len < 2 || get16(bytes) != COL_COUNT) {
        return false;
    }
    size_t at = 2;
    for (int i = 0; i < COL_COUNT; i++) {
        if (len - at < 4) {
            return false;
        }
        uint32_t size = get32(bytes + at);
        at += 4;
        if (size == UINT32_MAX) {
            columns[i] = (struct ph_str){NULL, 0};
            continue;
        }
        if (size > len - at) {
            return false;
        }
        columns[i] = (struct ph_str){bytes + at, size};
        at += size;
    }
    return at == len;
}

/* jsonb travels as a version byte and the text. */
static bool jsonb_text(struct ph_str *s)
{
    if (!s->ptr) {
        return true;
    }
    if (s->len < 2 || s->ptr[0] != 1) {
        return false;
    }
    *s = (struct ph_str){s->ptr + 1, s->len - 1};
    return true;
}

static bool well_formed(struct ph_str c[COL_COUNT], size_t id_len)
{
    return c[COL_XID].len == 8 && c[COL_POSITION].len == 8 && c[COL_CREATED_AT].len == 8 &&
           c[COL_EVENT_ID].len == id_len && c[COL_AGGREGATE_TYPE].ptr && c[COL_AGGREGATE_ID].ptr &&
           c[COL_EVENT_TYPE].ptr && (!c[COL_DELIVER_AFTER].ptr || c[COL_DELIVER_AFTER].len == 8) &&
           jsonb_text(&c[COL_HEADERS]) && jsonb_text(&c[COL_PAYLOAD]);
}

/* Microseconds since 1970; 'infinity' is the last of them. */
static int64_t time_us(const char *p)
{
    int64_t us;
    return __builtin_add_overflow(get64(p), PG_EPOCH_US, &us) ? INT64_MAX : us;
}

int ph_pg_row_decode(const char *bytes, size_t len, struct ph_event *event, const char **flaw,
                     struct ph_error *err)
{
    struct ph_str c[COL_COUNT];
    if (!split(bytes, len, c) || !well_formed(c, sizeof event->id.bytes)) {
        return ph_fail(err, PH_E_DATA,
                       "posthorn.outbox gave a row that is not an event (%zu bytes)", len);
    }
    event->xid = (uint64_t)get64(c[COL_XID].ptr);
    event->position = get64(c[COL_POSITION].ptr);
    event->created_us = time_us(c[COL_CREATED_AT].ptr);
    event->deliver_after_us = c[COL_DELIVER_AFTER].ptr ? time_us(c[COL_DELIVER_AFTER].ptr) : 0;
    memcpy(event->id.bytes, c[COL_EVENT_ID].ptr, sizeof event->id.bytes);
    event->aggregate_type = c[COL_AGGREGATE_TYPE];
    event->aggregate_id = c[COL_AGGREGATE_ID];
    event->event_type = c[COL_EVENT_TYPE];
    event->headers_json = c[COL_HEADERS];
    event->payload = c[COL_PAYLOAD];
    bool both = c[COL_PAYLOAD].ptr && c[COL_PAYLOAD_BYTES].ptr;
    *flaw = both ? "the row has both payload and payload_bytes" : NULL;
    if (c[COL_PAYLOAD_BYTES].ptr) { /* beside a JSON payload a content type means nothing */
        event->payload = c[COL_PAYLOAD_BYTES];
        event->content_type = c[COL_CONTENT_TYPE];
        if (!event->content_type.ptr) {
            event->content_type = PH_STR("application/octet-stream");
        }
    }
    return 0;
}
