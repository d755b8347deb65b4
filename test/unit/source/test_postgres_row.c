/* Rows of a binary COPY: every column, and whatever else a peer could send in their place. */
#include "unit.h"

#include <endian.h>

#include "source/postgres.h"

#define COLUMNS     12
#define PG_EPOCH_US INT64_C(946684800000000)

enum {
    XID,
    POSITION,
    CREATED_AT,
    EVENT_ID,
    AGGREGATE_TYPE,
    AGGREGATE_ID,
    EVENT_TYPE,
    HEADERS,
    PAYLOAD,
    PAYLOAD_BYTES,
    CONTENT_TYPE,
    DELIVER_AFTER
};

static struct ph_buf row;

static int start(void **state)
{
    ph_buf_init(&row, 1 << 20);
    return unit_memory_watch(state);
}

static int finish(void **state)
{
    ph_buf_free(&row);
    return unit_memory_restore(state);
}

static void put16(struct ph_buf *buf, uint16_t value)
{
    value = htobe16(value);
    ph_buf_put(buf, &value, sizeof value);
}

static void put32(struct ph_buf *buf, uint32_t value)
{
    value = htobe32(value);
    ph_buf_put(buf, &value, sizeof value);
}

struct number {
    char bytes[8];
};

static struct ph_str number(struct number *room, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    memcpy(room->bytes, &big, sizeof big);
    return (struct ph_str){room->bytes, sizeof room->bytes};
}

/* A good row's columns; ptr NULL = SQL NULL. */
static void usual(struct ph_str columns[COLUMNS])
{
    static struct number xid, position, created;
    columns[XID] = number(&xid, 7001);
    columns[POSITION] = number(&position, 42);
    columns[CREATED_AT] = number(&created, 1000000);
    columns[EVENT_ID] = PH_STR("0123456789abcdef");
    columns[AGGREGATE_TYPE] = PH_STR("order");
    columns[AGGREGATE_ID] = PH_STR("order-1");
    columns[EVENT_TYPE] = PH_STR("placed");
    columns[HEADERS] = PH_STR("\1{}");
    columns[PAYLOAD] = PH_STR("\1{\"n\": 1}");
    columns[PAYLOAD_BYTES] = (struct ph_str){NULL, 0};
    columns[CONTENT_TYPE] = (struct ph_str){NULL, 0};
    columns[DELIVER_AFTER] = (struct ph_str){NULL, 0};
}

static void put_row(const struct ph_str *columns, uint16_t count)
{
    ph_buf_clear(&row);
    put16(&row, count);
    for (uint16_t i = 0; i < count; i++) {
        put32(&row, columns[i].ptr ? (uint32_t)columns[i].len : UINT32_MAX);
        ph_buf_put_str(&row, columns[i]);
    }
}

/* Decodes a copy on the heap of the exact size, so that a byte read too far is seen. */
static char *exact;
static const char *flaw; /* of the last decode */
static int decode(struct ph_str bytes, struct ph_event *event, struct ph_error *err)
{
    free(exact);
    exact = malloc(bytes.len ? bytes.len : 1);
    assert_non_null(exact);
    if (bytes.len > 0) {
        memcpy(exact, bytes.ptr, bytes.len);
    }
    *event = (struct ph_event){0};
    flaw = "not written";
    int rc = ph_pg_row_decode(exact, bytes.len, event, &flaw, err);
    uint64_t xid = 0;
    int64_t position = 0;
    bool peeked = ph_pg_row_peek(exact, bytes.len, &xid, &position);
    if (rc == 0) {
        assert_true(peeked && xid == event->xid && position == event->position);
        assert_true(!flaw || strlen(flaw) > 12);
    }
    return rc;
}

static void assert_decoded(const struct ph_str *columns, struct ph_event *event)
{
    struct ph_error err = {0};
    put_row(columns, COLUMNS);
    if (decode(ph_buf_str(&row), event, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void assert_refused(void)
{
    struct ph_event event;
    struct ph_error err = {0};
    assert_int_equal(decode(ph_buf_str(&row), &event, &err), PH_E_DATA);
    assert_int_equal(err.code, PH_E_DATA);
}

static void a_json_event(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    assert_decoded(columns, &event);
    assert_int_equal(event.xid, 7001);
    assert_int_equal(event.position, 42);
    assert_int_equal(event.created_us, PG_EPOCH_US + 1000000);
    assert_memory_equal(event.id.bytes, "0123456789abcdef", 16);
    assert_str(event.aggregate_type, "order");
    assert_str(event.aggregate_id, "order-1");
    assert_str(event.event_type, "placed");
    assert_str(event.headers_json, "{}");
    assert_str(event.payload, "{\"n\": 1}");
    assert_null(event.content_type.ptr);
    assert_int_equal(event.deliver_after_us, 0);
    struct number due;
    columns[DELIVER_AFTER] = number(&due, 2000000);
    assert_decoded(columns, &event);
    assert_int_equal(event.deliver_after_us, PG_EPOCH_US + 2000000);
    columns[DELIVER_AFTER].len = 7;
    put_row(columns, COLUMNS);
    assert_refused();
}

static void a_binary_event(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    columns[PAYLOAD] = (struct ph_str){NULL, 0};
    columns[PAYLOAD_BYTES] = PH_STR("\0\1\377");
    assert_decoded(columns, &event);
    assert_int_equal(event.payload.len, 3);
    assert_memory_equal(event.payload.ptr, "\0\1\377", 3);
    assert_str(event.content_type, "application/octet-stream");
    columns[CONTENT_TYPE] = PH_STR("application/avro");
    assert_decoded(columns, &event);
    assert_str(event.content_type, "application/avro");
    columns[PAYLOAD_BYTES] = PH_STR(""); /* empty is no tombstone */
    assert_decoded(columns, &event);
    assert_non_null(event.payload.ptr);
    assert_int_equal(event.payload.len, 0);
}

static void a_tombstone_and_empty_texts(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    columns[PAYLOAD] = (struct ph_str){NULL, 0};
    columns[HEADERS] = (struct ph_str){NULL, 0};
    columns[AGGREGATE_ID] = PH_STR("");
    assert_decoded(columns, &event);
    assert_null(event.payload.ptr);
    assert_null(event.content_type.ptr);
    assert_int_equal(event.headers_json.len, 0);
    assert_str(event.aggregate_id, "");
}

/* A JSON payload stays one, whatever content type a writer put beside it. */
static void json_with_a_content_type(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    columns[CONTENT_TYPE] = PH_STR("application/json");
    assert_decoded(columns, &event);
    assert_str(event.payload, "{\"n\": 1}");
    assert_null(event.content_type.ptr);
}

/* An owner of the table can insert what is no event; it is named, not lost. */
static void two_payloads_are_a_flaw(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    assert_decoded(columns, &event);
    assert_null(flaw);
    columns[PAYLOAD_BYTES] = PH_STR("");
    assert_decoded(columns, &event);
    assert_non_null(flaw);
    assert_non_null(strstr(flaw, "payload_bytes"));
    assert_int_equal(event.position, 42);
    columns[PAYLOAD] = (struct ph_str){NULL, 0};
    assert_decoded(columns, &event);
    assert_null(flaw);
}

/* created_at may be 'infinity': any writer may set it. */
static void times_at_the_ends(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    struct number created;
    usual(columns);
    columns[CREATED_AT] = number(&created, INT64_MAX);
    assert_decoded(columns, &event);
    assert_true(event.created_us == INT64_MAX);
    columns[CREATED_AT] = number(&created, INT64_MIN);
    assert_decoded(columns, &event);
    assert_true(event.created_us <= INT64_MIN + PG_EPOCH_US);
    columns[CREATED_AT] = number(&created, -PG_EPOCH_US);
    assert_decoded(columns, &event);
    assert_true(event.created_us == 0);
}

static void numbers_at_the_ends(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    struct number xid, position;
    usual(columns);
    columns[XID] = number(&xid, -1);
    columns[POSITION] = number(&position, INT64_MIN);
    assert_decoded(columns, &event);
    assert_true(event.xid == UINT64_MAX && event.position == INT64_MIN);
}

static void truncated_at_each_byte(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    columns[PAYLOAD_BYTES] = PH_STR("bytes");
    columns[CONTENT_TYPE] = PH_STR("text/plain");
    put_row(columns, COLUMNS);
    struct ph_str whole = ph_buf_str(&row);
    assert_int_equal(decode(whole, &event, NULL), 0);
    for (size_t len = 0; len < whole.len; len++) {
        assert_int_equal(decode((struct ph_str){whole.ptr, len}, &event, NULL), PH_E_DATA);
    }
    ph_buf_putc(&row, 'x'); /* and one byte too many */
    assert_refused();
}

static void wrong_numbers_of_columns(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS + 1];
    usual(columns);
    columns[COLUMNS] = PH_STR("more");
    for (uint16_t count = 0; count <= COLUMNS + 1; count++) {
        put_row(columns, count);
        if (count != COLUMNS) {
            assert_refused();
        }
    }
    static const uint16_t counts[] = {0, 11, 13, 0x7FFF, 0x8000, 0xFFFF};
    for (size_t i = 0; i < COUNT(counts); i++) { /* the right columns under a wrong count */
        put_row(columns, COLUMNS);
        uint16_t count = htobe16(counts[i]);
        memcpy(row.ptr, &count, sizeof count);
        assert_refused();
    }
}

static size_t length_at(int column)
{
    size_t at = 2;
    for (int i = 0; i < column; i++) {
        uint32_t size;
        memcpy(&size, row.ptr + at, sizeof size);
        size = be32toh(size);
        at += 4 + (size == UINT32_MAX ? 0 : size);
    }
    return at;
}

static void lengths_beyond_the_row(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFF0, 100000, 7, 9};
    struct ph_str columns[COLUMNS];
    usual(columns);
    for (int column = 0; column < COLUMNS; column++) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            put_row(columns, COLUMNS);
            uint32_t size = htobe32(sizes[i]);
            if (be32toh(size) == columns[column].len) {
                continue;
            }
            memcpy(row.ptr + length_at(column), &size, sizeof size);
            assert_refused();
        }
    }
}

static void null_where_it_must_not_be(void **state)
{
    (void)state;
    for (int column = 0; column < COLUMNS; column++) {
        struct ph_str columns[COLUMNS];
        usual(columns);
        columns[column] = (struct ph_str){NULL, 0};
        put_row(columns, COLUMNS);
        if (column <= EVENT_TYPE) {
            assert_refused();
        } else {
            struct ph_event event;
            assert_int_equal(decode(ph_buf_str(&row), &event, NULL), 0);
        }
    }
}

static void fixed_sizes(void **state)
{
    (void)state;
    static const int fixed[] = {XID, POSITION, CREATED_AT, EVENT_ID};
    for (size_t i = 0; i < COUNT(fixed); i++) {
        for (size_t len = 0; len <= 20; len++) {
            struct ph_str columns[COLUMNS];
            usual(columns);
            size_t right = columns[fixed[i]].len;
            columns[fixed[i]] = (struct ph_str){"01234567890123456789", len};
            put_row(columns, COLUMNS);
            if (len != right) {
                assert_refused();
            }
        }
    }
}

static void versions_of_jsonb(void **state)
{
    (void)state;
    static const struct ph_str bad[] = {{"", 0},     {"\1", 1}, {"\0{}", 3},
                                        {"\2{}", 3}, {"{}", 2}, {"\377{}", 3}};
    for (int column = HEADERS; column <= PAYLOAD; column++) {
        for (size_t i = 0; i < COUNT(bad); i++) {
            struct ph_str columns[COLUMNS];
            usual(columns);
            columns[column] = bad[i];
            put_row(columns, COLUMNS);
            assert_refused();
        }
    }
}

static void peeking_is_bounded(void **state)
{
    (void)state;
    struct ph_str columns[COLUMNS];
    uint64_t xid = 0;
    int64_t position = 0;
    usual(columns);
    put_row(columns, COLUMNS);
    for (size_t len = 0; len < 26; len++) {
        char *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, row.ptr, len);
        assert_false(ph_pg_row_peek(copy, len, &xid, &position));
        free(copy);
    }
    assert_true(ph_pg_row_peek(row.ptr, 26, &xid, &position));
    assert_true(xid == 7001 && position == 42);
}

/* Random bytes over a good row: an answer, and never a byte from outside. */
static void damaged_rows(void **state)
{
    (void)state;
    uint64_t seed = 20260817;
    struct ph_str columns[COLUMNS];
    struct ph_event event;
    usual(columns);
    for (int i = 0; i < 50000; i++) {
        put_row(columns, COLUMNS);
        for (int j = 0; j <= i % 3; j++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            row.ptr[(seed >> 33) % row.len] = (char)(seed >> 56);
        }
        if (decode(ph_buf_str(&row), &event, NULL) == 0 && event.payload.len > 0) {
            assert_in_range((uintptr_t)event.payload.ptr, (uintptr_t)exact,
                            (uintptr_t)exact + row.len);
        }
    }
}

static const char signature[] = "PGCOPY\n\377\r\n"; /* with its '\0': 11 bytes */

static void put_header(uint32_t flags, uint32_t extension)
{
    ph_buf_clear(&row);
    ph_buf_put(&row, signature, sizeof signature);
    put32(&row, flags);
    put32(&row, extension);
}

static void skips_the_header(void **state)
{
    (void)state;
    const char *at;
    size_t len;
    put_header(0, 0);
    ph_buf_puts(&row, "row");
    at = row.ptr;
    len = row.len;
    assert_int_equal(ph_pg_row_skip_header(&at, &len), 0);
    assert_str((struct ph_str){at, len}, "row");
    put_header(0, 0);
    at = row.ptr;
    len = row.len;
    assert_int_equal(ph_pg_row_skip_header(&at, &len), 0);
    assert_int_equal(len, 0);
    put_header(0, 4); /* an extension is to be passed over */
    ph_buf_puts(&row, "EXT!row");
    at = row.ptr;
    len = row.len;
    assert_int_equal(ph_pg_row_skip_header(&at, &len), 0);
    assert_str((struct ph_str){at, len}, "row");
}

static void refuses_other_headers(void **state)
{
    (void)state;
    static const uint32_t extensions[] = {4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < COUNT(extensions); i++) {
        put_header(0, extensions[i]);
        ph_buf_puts(&row, "row");
        const char *at = row.ptr;
        size_t len = row.len;
        assert_int_equal(ph_pg_row_skip_header(&at, &len), -1);
        assert_true(at == row.ptr && len == row.len);
    }
    put_header(0, 0);
    for (size_t cut = 0; cut < row.len; cut++) {
        char *copy = malloc(cut ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, row.ptr, cut);
        const char *at = copy;
        size_t len = cut;
        assert_int_equal(ph_pg_row_skip_header(&at, &len), -1);
        free(copy);
    }
    for (size_t i = 0; i < sizeof signature; i++) {
        put_header(0, 0);
        row.ptr[i] ^= 0x20;
        const char *at = row.ptr;
        size_t len = row.len;
        assert_int_equal(ph_pg_row_skip_header(&at, &len), -1);
    }
}

/* The format's documentation: bits 16 to 31 are critical, a reader must not go on with one set. */
static void refuses_critical_flags(void **state)
{
    (void)state;
    put_header(0x00010000, 0); /* OIDs are included */
    const char *at = row.ptr;
    size_t len = row.len;
    assert_int_equal(ph_pg_row_skip_header(&at, &len), -1);
    put_header(0x00000001, 0); /* not critical: to be ignored */
    at = row.ptr;
    len = row.len;
    assert_int_equal(ph_pg_row_skip_header(&at, &len), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_json_event),
        cmocka_unit_test(a_binary_event),
        cmocka_unit_test(a_tombstone_and_empty_texts),
        cmocka_unit_test(json_with_a_content_type),
        cmocka_unit_test(two_payloads_are_a_flaw),
        cmocka_unit_test(times_at_the_ends),
        cmocka_unit_test(numbers_at_the_ends),
        cmocka_unit_test(truncated_at_each_byte),
        cmocka_unit_test(wrong_numbers_of_columns),
        cmocka_unit_test(lengths_beyond_the_row),
        cmocka_unit_test(null_where_it_must_not_be),
        cmocka_unit_test(fixed_sizes),
        cmocka_unit_test(versions_of_jsonb),
        cmocka_unit_test(peeking_is_bounded),
        cmocka_unit_test(damaged_rows),
        cmocka_unit_test(skips_the_header),
        cmocka_unit_test(refuses_other_headers),
        cmocka_unit_test(refuses_critical_flags),
    };
    int failed = cmocka_run_group_tests_name("postgres_row", tests, start, finish);
    free(exact);
    return failed;
}
