/* One NDJSON line as an event: what is kept byte for byte, and what each mistake is called. */
#include "unit.h"

#include "base/json.h"
#include "cli/ndjson.h"

#define NAMES "\"aggregateType\":\"order\",\"aggregateId\":\"1\",\"eventType\":\"Placed\""

static int parse(struct ph_arena *arena, const char *line, struct ph_outbox_event *out,
                 struct ph_error *err)
{
    ph_arena_init(arena, 1 << 20);
    return ph_ndjson_parse(arena, ph_str_from(line), out, err);
}

static void whole(void **state)
{
    (void)state;
    struct ph_arena arena;
    struct ph_outbox_event event;
    struct ph_error err = {0};
    const char *line =
        " {\"id\":\"0188E9A0-1111-7222-8333-abcdefabcdef\", \"payload\" : "
        "{\"n\": 1.500, \"big\":123456789012345678901234567890e-3,\"t\":\"a\\u0041\"} ,"
        "\"headers\":{\"traceparent\":\"00-x\",\"\\u006e\":\"\"}," NAMES "}\r";
    assert_int_equal(parse(&arena, line, &event, &err), 0);
    assert_str(event.aggregate_type, "order");
    assert_str(event.aggregate_id, "1");
    assert_str(event.event_type, "Placed");
    assert_str(event.payload,
               "{\"n\": 1.500, \"big\":123456789012345678901234567890e-3,\"t\":\"a\\u0041\"}");
    assert_str(event.headers, "{\"traceparent\":\"00-x\",\"\\u006e\":\"\"}");
    assert_str(event.id, "0188E9A0-1111-7222-8333-abcdefabcdef");
    ph_arena_free(&arena);
}

static void absent(void **state)
{
    (void)state;
    struct ph_arena arena;
    struct ph_outbox_event event;
    const char *line = "{" NAMES ",\"payload\":null,\"headers\":null,\"id\":null}";
    assert_int_equal(parse(&arena, line, &event, NULL), 0);
    assert_null(event.payload.ptr); /* a tombstone */
    assert_null(event.headers.ptr);
    assert_null(event.id.ptr);
    ph_arena_free(&arena);
    assert_int_equal(parse(&arena, "{" NAMES ",\"payload\":\"null\"}", &event, NULL), 0);
    assert_str(event.payload, "\"null\"");
    ph_arena_free(&arena);
}

static void escapes(void **state)
{
    (void)state;
    struct ph_arena arena;
    struct ph_outbox_event event;
    const char *line = "{\"aggregate\\u0054ype\":\"\\u00e9\",\"aggregateId\":\"a\\\\b\\\"c\","
                       "\"eventType\":\"\\ud83d\\ude00\",\"payload\":[ ]}";
    assert_int_equal(parse(&arena, line, &event, NULL), 0);
    assert_str(event.aggregate_type, "\xc3\xa9");
    assert_str(event.aggregate_id, "a\\b\"c");
    assert_str(event.event_type, "\xf0\x9f\x98\x80");
    assert_str(event.payload, "[ ]");
    ph_arena_free(&arena);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"", "JSON"},
        {"[]", "JSON"},
        {"{", "JSON"},
        {"{} {}", "JSON"},
        {"null", "JSON"},
        {"{}", "field \"aggregateType\" is missing"},
        {"{" NAMES "}", "field \"payload\" is missing (write null for a tombstone)"},
        {"{" NAMES ",\"payload\":1,}", "JSON"},
        {"{" NAMES ",\"payload\":01}", "JSON"},
        {"{" NAMES ",\"payload\":1,\"header\":{}}",
         "unknown field \"header\" (did you mean headers?)"},
        {"{" NAMES ",\"payload\":1,\"aggregateID\":\"1\"}", "(did you mean aggregateId?)"},
        {"{" NAMES ",\"payload\":1,\"zzzzzzzzzz\":1}", "unknown field \"zzzzzzzzzz\""},
        {"{" NAMES ",\"payload\":1,\"a\\nb\\u00e9\":1}", "unknown field \"a?b??\""},
        {"{" NAMES ",\"payload\":1,\"payload\":2}", "field \"payload\" is there twice"},
        {"{" NAMES ",\"payload\":1,\"pay\\u006coad\":2}", "field \"payload\" is there twice"},
        {"{\"aggregateType\":1}", "field \"aggregateType\": must be a string"},
        {"{\"aggregateType\":null}", "field \"aggregateType\": must be a string"},
        {"{\"aggregateType\":\"\"}", "field \"aggregateType\": must not be empty"},
        {"{\"eventType\":\"\\u0000\"}", "field \"eventType\""},
        {"{\"eventType\":\"\\ud800\"}", "field \"eventType\""},
        {"{\"eventType\":\"\xff\"}", "UTF-8"},
        {"{\"headers\":[]}", "field \"headers\": must be an object of strings"},
        {"{\"headers\":\"x\"}", "field \"headers\": must be an object of strings"},
        {"{\"headers\":{\"a\":1}}", "field \"headers\": must be an object of strings"},
        {"{\"headers\":{\"a\":null}}", "field \"headers\": must be an object of strings"},
        {"{\"headers\":{\"\":\"x\"}}", "field \"headers\": a header has no name"},
        {"{\"headers\":{\"a\":\"\\u0000\"}}", "field \"headers\""},
        {"{\"id\":\"17\"}", "field \"id\": must be a UUID"},
        {"{\"id\":17}", "field \"id\": must be a string"},
        {"{\"id\":\"\"}", "field \"id\": must not be empty"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_arena arena;
        struct ph_outbox_event event;
        struct ph_error err = {0};
        int rc = parse(&arena, cases[i].line, &event, &err);
        if (rc != PH_E_DATA || !strstr(err.text, cases[i].expected)) {
            fail_msg("%s: %d '%s', expected '%s'", cases[i].line, rc, err.text, cases[i].expected);
        }
        ph_arena_free(&arena);
    }
}

static void no_values_in_errors(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{" NAMES ",\"payload\":1,\"id\":\"geheim\"}",
        "{" NAMES ",\"payload\":1,\"headers\":\"geheim\"}",
        "{" NAMES ",\"payload\":\"geheim\",\"x\":1}",
        "{" NAMES ",\"payload\":\"geheim\"",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct ph_arena arena;
        struct ph_outbox_event event;
        struct ph_error err = {0};
        assert_int_equal(parse(&arena, lines[i], &event, &err), PH_E_DATA);
        assert_null(strstr(err.text, "geheim"));
        ph_arena_free(&arena);
    }
}

static void bounded(void **state)
{
    (void)state;
    struct ph_arena arena;
    struct ph_outbox_event event;
    struct ph_error err = {0};
    ph_arena_init(&arena, 16);
    const char *line = "{\"aggregateType\":\"\\u0061aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
    assert_int_equal(ph_ndjson_parse(&arena, ph_str_from(line), &event, &err), PH_E_NOMEM);
    ph_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(absent, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(escapes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(mistakes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(no_values_in_errors, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(bounded, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/ndjson", tests, NULL, NULL);
}
