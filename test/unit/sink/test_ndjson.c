/* Lines: their exact form and its reading back; the feed: verdicts, rewind, forget, bounds. */
#include "unit.h"

#include "base/json.h"
#include "sink/ndjson.h"

static const struct ph_tick_span span = {.tick = 7};

static struct ph_event full_event(void)
{
    struct ph_event event = {.created_us = 1795148889123456,
                             .position = 42,
                             .span = &span,
                             .aggregate_type = PH_STR("Order"),
                             .aggregate_id = PH_STR("order-1"),
                             .event_type = PH_STR("OrderPlaced"),
                             .payload = PH_STR("{\"n\": 1.50}"),
                             .headers_json = PH_STR("{\"a\": \"b\"}")};
    memset(event.id.bytes, 0xAB, sizeof event.id.bytes);
    return event;
}

#define FRONT                                                                        \
    "{\"id\":\"abababab-abab-abab-abab-abababababab\",\"type\":\"OrderPlaced\","     \
    "\"aggregateType\":\"Order\",\"aggregateId\":\"order-1\",\"position\":\"7-42\"," \
    "\"createdAt\":\"2026-11-20T04:28:09.123456Z\","

static void check_line(const struct ph_event *event, const char *expected)
{
    struct ph_buf buf;
    ph_buf_init(&buf, 10000);
    ph_ndjson_put(&buf, event);
    assert_string_equal(ph_buf_text(&buf), expected);
    assert_int_equal(ph_json_check((struct ph_str){buf.ptr, buf.len - 1}, NULL), 0);
    struct ph_arena arena;
    struct ph_record record;
    struct ph_error err = {0};
    ph_arena_init(&arena, 10000);
    int rc = ph_ndjson_record(&arena, (struct ph_str){buf.ptr, buf.len - 1}, &record, &err);
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
    assert_memory_equal(record.id.bytes, event->id.bytes, 16);
    assert_int_equal(record.at.tick, 7);
    assert_int_equal(record.at.position, event->position);
    assert_true(ph_str_eq(record.key, event->aggregate_id));
    assert_int_equal(record.lane, 0);
    ph_arena_free(&arena);
    ph_buf_free(&buf);
}

static void lines(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    check_line(&event, FRONT "\"headers\":{\"a\": \"b\"},\"payload\":{\"n\": 1.50}}\n");
    event.headers_json = (struct ph_str){NULL, 0};
    event.payload = (struct ph_str){NULL, 0};
    check_line(&event, FRONT "\"headers\":{},\"payload\":null}\n");
    event.content_type = PH_STR("a/b");
    check_line(&event, FRONT "\"headers\":{},\"payload\":null}\n");
    event.payload = PH_STR("\n\n\n");
    check_line(&event,
               FRONT "\"headers\":{},\"contentType\":\"a/b\",\"payloadBase64\":\"CgoK\"}\n");
    event = full_event();
    event.payload = PH_STR("\n{\n\"n\":\n1}\n");
    event.headers_json = PH_STR("{\n}");
    check_line(&event, FRONT "\"headers\":{ },\"payload\": { \"n\": 1} }\n");
}

static void strange_strings(void **state)
{
    (void)state;
    struct ph_event event = full_event();
    event.aggregate_id = PH_STR("a\n\"\\\x01\xC3\xA9");
    event.event_type = (struct ph_str){NULL, 0};
    check_line(&event,
               "{\"id\":\"abababab-abab-abab-abab-abababababab\",\"type\":\"\","
               "\"aggregateType\":\"Order\",\"aggregateId\":\"a\\n\\\"\\\\\\u0001\xC3\xA9\","
               "\"position\":\"7-42\",\"createdAt\":\"2026-11-20T04:28:09.123456Z\","
               "\"headers\":{\"a\": \"b\"},\"payload\":{\"n\": 1.50}}\n");
}

static void bad_lines(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "byte 0"},
        {"[]", "object"},
        {"{}", "\"id\" is absent"},
        {"{\"id\": 1}", "not a string"},
        {"{\"id\": \"x\", \"position\": \"1-2\"}", "no UUID"},
        {"{\"id\": \"abababab-abab-abab-abab-abababababab\"}", "\"position\" is absent"},
        {"{\"id\": \"abababab-abab-abab-abab-abababababab\", \"position\": \"12\"}", "TICK-POS"},
        {"{\"id\": \"abababab-abab-abab-abab-abababababab\", \"position\": \"1-2\"", "expected"},
        {"{\"id\": \"abababab-abab-abab-abab-abababababab\", \"position\": \"1-2\"}x", "behind"},
    };
    struct ph_arena arena;
    ph_arena_init(&arena, 10000);
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct ph_record record;
        struct ph_error err = {0};
        assert_int_equal(ph_ndjson_record(&arena, ph_str_from(bad[i][0]), &record, &err),
                         PH_E_DATA);
        if (!strstr(err.text, bad[i][1])) {
            fail_msg("\"%s\" lacks \"%s\"", err.text, bad[i][1]);
        }
    }
    ph_arena_free(&arena);
}

/* --- feed ------------------------------------------------------------------------------------- */

struct fixture {
    struct ph_feed feed;
    struct ph_batch *batches[3];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        f->batches[i] = ph_batch_new(4, 1 << 20);
        for (size_t k = 0; k < 3; k++) {
            *ph_batch_add(f->batches[i]) = full_event();
        }
    }
    return ph_feed_init(&f->feed, 3, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ph_feed_free(&f->feed);
    ph_feed_free(NULL);
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        ph_batch_free(f->batches[i]);
    }
    free(f);
    return unit_memory_restore(state);
}

static void submit_all(struct fixture *f)
{
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        ph_feed_submit(&f->feed, f->batches[i]);
    }
}

static void put(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(ph_feed_put(&f->feed, NULL), 1);
    }
}

static void check_verdicts(const struct fixture *f, const char *expected)
{
    char text[16] = "";
    size_t len = 0;
    for (size_t i = 0; i < COUNT(f->batches); i++) {
        for (size_t k = 0; k < f->batches[i]->count; k++) {
            text[len++] = ".srx"[f->batches[i]->events[k].verdict];
        }
    }
    assert_string_equal(text, expected);
}

static void verdicts_follow_lines(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    ph_feed_sent(&f->feed);
    submit_all(f);
    put(f, 1);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "s........");
    put(f, 4);
    check_verdicts(f, "s........");
    ph_feed_written(&f->feed);
    assert_int_equal(f->feed.lines.len, 0);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sssss....");
    assert_int_equal(f->feed.count, 2);
    ph_batch_reset(f->batches[0]);
    put(f, 1);
    ph_feed_sent(&f->feed);
    assert_int_equal(f->feed.count, 1);
    put(f, 3);
    assert_false(ph_feed_more(&f->feed));
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "ssssss");
    assert_int_equal(f->feed.count, 0);
}

static void rewinds(void **state)
{
    struct fixture *f = *state;
    submit_all(f);
    put(f, 2);
    ph_feed_sent(&f->feed);
    put(f, 5);
    ph_feed_rewind(&f->feed);
    assert_int_equal(f->feed.lines.len, 0);
    put(f, 1);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sss......");
    put(f, 6);
    assert_false(ph_feed_more(&f->feed));
    ph_feed_forget(&f->feed);
    assert_false(ph_feed_more(&f->feed));
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sss......");
}

static void settled_events_get_no_line(void **state)
{
    struct fixture *f = *state;
    ph_batch_verdict(f->batches[0], &f->batches[0]->events[0], PH_SENT, NULL);
    ph_batch_verdict(f->batches[1], &f->batches[1]->events[1], PH_SENT, NULL);
    submit_all(f);
    put(f, 7);
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sssssssss");
}

static void too_large_is_rejected(void **state)
{
    struct fixture *f = *state;
    size_t size = PH_NDJSON_LINE_MAX;
    char *payload = malloc(size);
    assert_non_null(payload);
    memset(payload, '1', size);
    submit_all(f);
    f->batches[0]->events[1].payload = (struct ph_str){payload, size};
    put(f, 1);
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    assert_int_equal(f->feed.lines.len, strlen(ph_buf_text(&f->feed.lines)));
    assert_false(ph_feed_more(&f->feed));
    check_verdicts(f, ".........");
    ph_feed_rewind(&f->feed);
    put(f, 1);
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    ph_feed_written(&f->feed);
    assert_true(f->feed.lines.size == 0);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sx.......");
    assert_non_null(strstr(f->batches[0]->events[1].cause, "64 MiB"));
    ph_feed_sent(&f->feed);
    ph_feed_rewind(&f->feed);
    assert_int_equal(ph_feed_put(&f->feed, NULL), 0);
    check_verdicts(f, "sx.......");
    ph_feed_forget(&f->feed);
    f->batches[1]->events[0].payload = (struct ph_str){payload, size - 1000};
    ph_feed_submit(&f->feed, f->batches[1]);
    put(f, 1);
    ph_feed_written(&f->feed);
    put(f, 2);
    ph_feed_sent(&f->feed);
    check_verdicts(f, "sx.sss...");
    free(payload);
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    submit_all(f);
    for (long ok = 0; ok < 3; ok++) {
        unit_memory_fail_after(ok);
        assert_int_equal(ph_feed_put(&f->feed, &err), PH_E_NOMEM);
        assert_int_equal(f->feed.lines.len, 0);
        ph_feed_rewind(&f->feed);
        ph_buf_free(&f->feed.lines);
    }
    unit_memory_fail_after(-1);
    put(f, 9);
    struct ph_feed feed;
    unit_memory_fail_after(0);
    assert_int_equal(ph_feed_init(&feed, 3, &err), PH_E_NOMEM);
    unit_memory_fail_after(-1);
}

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(strange_strings),
        cmocka_unit_test(bad_lines),
        FEED_TEST(verdicts_follow_lines),
        FEED_TEST(rewinds),
        FEED_TEST(settled_events_get_no_line),
        FEED_TEST(too_large_is_rejected),
        FEED_TEST(memory_fails),
    };
    return cmocka_run_group_tests_name("sink/ndjson", tests, NULL, NULL);
}
