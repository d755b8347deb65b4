/* The envelope: its fields in order, what is left out, bytes kept, escapes, base64, bounds. */
#include "unit.h"

#include "base/json.h"
#include "core/envelope.h"

static void check(const struct ph_event *event, const char *expected)
{
    struct ph_arena arena;
    struct ph_str out;
    struct ph_error err = {0};
    ph_arena_init(&arena, 1 << 20);
    assert_int_equal(ph_envelope_json(&arena, event, &out, &err), 0);
    assert_str(out, expected);
    assert_int_equal(ph_json_check(out, &err), 0);
    ph_arena_free(&arena);
}

static struct ph_event full_event(void)
{
    struct ph_event event = {.created_us = 1795148889123456,
                             .aggregate_type = PH_STR("Order"),
                             .aggregate_id = PH_STR("order-1"),
                             .event_type = PH_STR("OrderPlaced"),
                             .payload = PH_STR("{\"n\": 1.50}"),
                             .headers_json = PH_STR("{\"a\": \"b\"}")};
    memset(event.id.bytes, 0xAB, sizeof event.id.bytes);
    return event;
}

#define ID   "\"eventId\":\"abababab-abab-abab-abab-abababababab\","
#define TIME "\"createdAt\":\"2026-11-20T04:28:09.123456Z\"}"

static void all_fields(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    check(&event,
          "{" ID "\"eventType\":\"OrderPlaced\",\"aggregateType\":\"Order\","
          "\"aggregateId\":\"order-1\",\"data\":{\"n\": 1.50},\"metadata\":{\"a\": \"b\"}," TIME);
}

static void absent_fields_are_left_out(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    event.event_type = (struct ph_str){NULL, 0};
    event.aggregate_type = PH_STR("");
    event.headers_json = PH_STR("{}");
    check(&event, "{" ID "\"aggregateId\":\"order-1\",\"data\":{\"n\": 1.50}," TIME);
    event.headers_json = (struct ph_str){NULL, 0};
    event.aggregate_id = (struct ph_str){NULL, 0};
    check(&event, "{" ID "\"data\":{\"n\": 1.50}," TIME);
}

static void binary_payload(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    event.headers_json = PH_STR("");
    event.event_type = event.aggregate_type = event.aggregate_id = PH_STR("");
    event.content_type = PH_STR("application/x-\"p\"");
    event.payload = (struct ph_str){"\x00\xFF\x10", 3};
    check(&event,
          "{" ID "\"contentType\":\"application/x-\\\"p\\\"\",\"dataBase64\":\"AP8Q\"," TIME);
    event.payload = (struct ph_str){"", 0};
    check(&event, "{" ID "\"contentType\":\"application/x-\\\"p\\\"\",\"dataBase64\":\"\"," TIME);
}

static void escapes_fit(void **state)
{
    (void)state;
    char bytes[300];
    memset(bytes, 1, sizeof bytes);
    struct ph_event event = full_event();
    event.event_type = event.aggregate_type = event.aggregate_id =
        (struct ph_str){bytes, sizeof bytes};
    struct ph_arena arena;
    struct ph_str out;
    struct ph_error err = {0};
    ph_arena_init(&arena, 1 << 20);
    assert_int_equal(ph_envelope_json(&arena, &event, &out, &err), 0);
    assert_true(out.len > 3 * 6 * sizeof bytes);
    assert_int_equal(ph_json_check(out, &err), 0);
    memset(bytes, 0xFF, sizeof bytes);
    event.content_type = event.event_type;
    assert_int_equal(ph_envelope_json(&arena, &event, &out, &err), 0);
    assert_int_equal(ph_json_check(out, &err), 0);
    ph_arena_free(&arena);
}

static void tombstone_has_none(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    event.payload = (struct ph_str){NULL, 0};
    struct ph_arena arena;
    struct ph_str out = PH_STR("x");
    ph_arena_init(&arena, 0);
    assert_int_equal(ph_envelope_json(&arena, &event, &out, NULL), 0);
    assert_null(out.ptr);
}

static void no_room(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    struct ph_arena arena;
    struct ph_str out;
    struct ph_error err = {0};
    ph_arena_init(&arena, 100);
    assert_int_equal(ph_envelope_json(&arena, &event, &out, &err), PH_E_NOMEM);
    assert_int_equal(err.code, PH_E_NOMEM);
    ph_arena_free(&arena);
}

/* RFC 4648, and long ones against a slow decoder. */
static void base64(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"}};
    struct ph_buf buf;
    ph_buf_init(&buf, 1 << 20);
    for (size_t i = 0; i < COUNT(vectors); i++) {
        ph_buf_clear(&buf);
        ph_base64_put(&buf, ph_str_from(vectors[i][0]));
        assert_string_equal(ph_buf_text(&buf), vectors[i][1]);
    }
    char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 37 + i / 251);
    }
    for (size_t len = 700; len < sizeof bytes; len += 61) {
        ph_buf_clear(&buf);
        ph_base64_put(&buf, (struct ph_str){bytes, len});
        assert_int_equal(buf.len, ph_base64_len(len));
        static const char digits[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (size_t at = 0; at < len; at++) {
            unsigned bits = 0;
            for (size_t k = 0; k < 4; k++) {
                const char *digit = strchr(digits, buf.ptr[at / 3 * 4 + k]);
                bits = bits << 6 | (digit ? (unsigned)(digit - digits) : 0);
            }
            assert_int_equal((unsigned char)bytes[at], bits >> (16 - 8 * (at % 3)) & 255);
        }
    }
    ph_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields),
        cmocka_unit_test(absent_fields_are_left_out),
        cmocka_unit_test(binary_payload),
        cmocka_unit_test(escapes_fit),
        cmocka_unit_test(tombstone_has_none),
        cmocka_unit_test(no_room),
        cmocka_unit_test(base64),
    };
    return cmocka_run_group_tests_name("core/envelope", tests, unit_memory_watch,
                                       unit_memory_restore);
}
