/* Routing: defaults, headers, rules, envelopes, refusals that stop, memory failing at every step.
 */
#include "unit.h"

#include "core/route.h"

static const struct ph_tick_span span = {.tick = 12};

struct fixture {
    struct ph_route_config config;
    struct ph_route *route;
    struct ph_batch *batch;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    assert_int_equal(ph_options_defaults(ph_route_options, &f->config, NULL), 0);
    f->batch = ph_batch_new(8, 1 << 20);
    return f->batch ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unit_memory_fail_after(-1);
    ph_route_free(f->route);
    ph_batch_free(f->batch);
    ph_route_config_free(&f->config);
    ph_route_config_free(&f->config);
    free(f);
    return unit_memory_restore(state);
}

static void set(struct fixture *f, const char *name, const char *value)
{
    struct ph_error err = {0};
    struct ph_str key = ph_str_from(name);
    int rc;
    if (ph_str_starts(key, PH_STR("rules."))) {
        key = (struct ph_str){key.ptr + 6, key.len - 6};
        rc = ph_route_rule_set(&f->config, key, ph_str_from(value), &err);
    } else {
        rc = ph_option_set(ph_route_options, &f->config, "route", key, ph_str_from(value), &err);
    }
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
}

static struct ph_event *add(struct fixture *f, const char *type, const char *aggregate)
{
    struct ph_event *event = ph_batch_add(f->batch);
    assert_non_null(event);
    event->span = &span;
    event->position = 345;
    event->xid = 99;
    event->created_us = 1795148889123456;
    event->event_type = ph_str_from(type);
    event->aggregate_type = ph_str_from(aggregate);
    event->aggregate_id = PH_STR("order-1");
    event->payload = PH_STR("{\"n\": 1}");
    event->headers_json = PH_STR("{}");
    return event;
}

static int run(struct fixture *f)
{
    struct ph_error err = {0};
    if (!f->route && ph_route_new(&f->config, &f->route, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return ph_route_batch(f->route, f->batch, &err);
}

static void check_header(const struct ph_event *event, unsigned i, const char *name,
                         const char *value)
{
    assert_true(i < event->header_count);
    assert_str(event->headers[i].name, name);
    assert_str(event->headers[i].value, value);
}

static void default_route(void **state)
{
    struct fixture *f = *state;
    struct ph_event *event = add(f, "OrderPlaced", "Order");
    assert_int_equal(run(f), 1);
    assert_str(event->topic, "outbox.event.Order");
    assert_ptr_equal(event->key.ptr, event->aggregate_id.ptr);
    assert_ptr_equal(event->body.ptr, event->payload.ptr);
    assert_int_equal(event->header_count, 6);
    check_header(event, 0, "id", "00000000-0000-0000-0000-000000000000");
    check_header(event, 1, "eventType", "OrderPlaced");
    check_header(event, 2, "aggregateType", "Order");
    check_header(event, 3, "aggregateId", "order-1");
    check_header(event, 4, "createdAt", "2026-11-20T04:28:09.123456Z");
    check_header(event, 5, "posthorn-position", "12-345");
    assert_int_equal(event->verdict, PH_PENDING);
}

static void config_without_defaults(void **state)
{
    struct fixture *f = *state;
    ph_route_config_free(&f->config);
    struct ph_event *event = add(f, "OrderPlaced", "Order");
    assert_int_equal(run(f), 1);
    assert_str(event->topic, "outbox.event.Order");
    assert_str(event->key, "order-1");
}

static void own_headers(void **state)
{
    struct fixture *f = *state;
    struct ph_event *event = add(f, "E", "A");
    event->headers_json =
        PH_STR("{\"userId\": 17, \"id\": \"mine\", \"eventType\": 1, "
               "\"trace\\u0070arent\": \"a\\u00e9b\", \"list\": [1, {\"x\": null}], "
               "\"none\": null, \"posthorn-xid\": \"x\", \"content-type\": \"y\", "
               "\"empty\": \"\"}");
    assert_int_equal(run(f), 1);
    assert_int_equal(event->header_count, 13);
    check_header(event, 0, "id", "00000000-0000-0000-0000-000000000000");
    check_header(event, 6, "userId", "17");
    check_header(event, 7, "traceparent",
                 "a\xC3\xA9"
                 "b");
    check_header(event, 8, "list", "[1, {\"x\": null}]");
    check_header(event, 9, "none", "null");
    check_header(event, 10, "posthorn-xid", "x");
    check_header(event, 11, "content-type", "y");
    check_header(event, 12, "empty", "");
}

static void headers_on_request(void **state)
{
    struct fixture *f = *state;
    set(f, "header_xid", "true");
    struct ph_event *event = add(f, "E", "A");
    event->content_type = PH_STR("application/x-protobuf");
    event->headers_json =
        PH_STR("{\"posthorn-xid\": \"x\", \"content-type\": \"y\", \"a\": \"b\"}");
    struct ph_event *without = add(f, "E", "A");
    without->xid = 0;
    struct ph_event *largest = add(f, "E", "A");
    largest->xid = UINT64_MAX;
    assert_int_equal(run(f), 3);
    assert_int_equal(event->header_count, 9);
    check_header(event, 6, "posthorn-xid", "99");
    check_header(event, 7, "content-type", "application/x-protobuf");
    check_header(event, 8, "a", "b");
    assert_int_equal(without->header_count, 6);
    check_header(largest, 6, "posthorn-xid", "18446744073709551615");
}

static void many_headers(void **state)
{
    struct fixture *f = *state;
    static char json[32000];
    for (unsigned count = 1; count <= 1019; count++) {
        ph_batch_reset(f->batch);
        struct ph_event *event = add(f, "E", "A");
        size_t len = 0;
        for (unsigned i = 0; i < count; i++) {
            len += (size_t)snprintf(json + len, sizeof json - len, "%c\"h%u\":\"%u\"",
                                    i ? ',' : '{', i, i * 3);
        }
        json[len++] = '}';
        event->headers_json = (struct ph_str){json, len};
        if (count == 1019) {
            assert_int_equal(run(f), 0);
            assert_string_equal(event->cause, "headers: more than 1024");
            break;
        }
        assert_int_equal(run(f), 1);
        assert_int_equal(event->header_count, count + 6);
        check_header(event, 6, "h0", "0");
        char name[16], value[16];
        (void)snprintf(name, sizeof name, "h%u", count - 1);
        (void)snprintf(value, sizeof value, "%u", (count - 1) * 3);
        check_header(event, count + 5, name, value);
    }
}

static void tombstone_and_no_key(void **state)
{
    struct fixture *f = *state;
    set(f, "key", "");
    struct ph_event *event = add(f, "E", "A");
    event->payload = (struct ph_str){NULL, 0};
    assert_int_equal(run(f), 1);
    assert_null(event->body.ptr);
    assert_null(event->key.ptr);
}

static void runs_of_one_type_share_the_topic(void **state)
{
    struct fixture *f = *state;
    struct ph_event *a = add(f, "E", "A"), *b = add(f, "E", "A"), *c = add(f, "E", "B");
    struct ph_event *d = add(f, "E", "A");
    assert_int_equal(run(f), 4);
    assert_ptr_equal(a->topic.ptr, b->topic.ptr);
    assert_str(c->topic, "outbox.event.B");
    assert_str(d->topic, "outbox.event.A");
}

static void topics_by_id_are_not_shared(void **state)
{
    struct fixture *f = *state;
    set(f, "topic", "t.{aggregate_id}.{header:h}");
    set(f, "key", "{event_type}/{aggregate_id}");
    struct ph_event *a = add(f, "E", "A"), *b = add(f, "E", "A");
    b->aggregate_id = PH_STR("order-2");
    a->headers_json = PH_STR("{\"h\": \"x\"}");
    b->headers_json = PH_STR("{\"h\": \"y\"}");
    assert_int_equal(run(f), 2);
    assert_str(a->topic, "t.order-1.x");
    assert_str(b->topic, "t.order-2.y");
    assert_str(b->key, "E/order-2");
}

static void rules(void **state)
{
    struct fixture *f = *state;
    set(f, "rules.0.event_type", "Order*");
    set(f, "rules.0.aggregate_type", "O?der");
    set(f, "rules.0.topic", "orders");
    set(f, "rules.1.event_type", "*Paid");
    set(f, "rules.1.key", "");
    set(f, "rules.1.envelope", "json");
    set(f, "rules.2.topic", "rest.{event_type}");
    struct ph_event *first = add(f, "OrderPaid", "Order"),
                    *second = add(f, "InvoicePaid", "Invoice");
    struct ph_event *third = add(f, "OrderPlaced", "Offer");
    assert_int_equal(run(f), 3);
    assert_str(first->topic, "orders");
    assert_str(first->key, "order-1");
    assert_ptr_equal(first->body.ptr, first->payload.ptr);
    assert_str(second->topic, "outbox.event.Invoice");
    assert_null(second->key.ptr);
    assert_memory_equal(second->body.ptr, "{\"eventId\":", 11);
    assert_str(third->topic, "rest.OrderPlaced");
}

static void refusal_concerns_one_event(void **state)
{
    struct fixture *f = *state;
    set(f, "topic", "t.{header:tenant}");
    set(f, "rules.0.event_type", "R");
    set(f, "rules.0.key", "{header:k}");
    struct ph_event *good = add(f, "E", "A"), *bad = add(f, "E", "A"), *behind = add(f, "E", "A");
    good->headers_json = behind->headers_json = PH_STR("{\"tenant\": \"acme\"}");
    assert_int_equal(run(f), 2);
    assert_str(good->topic, "t.acme");
    assert_int_equal(good->verdict, PH_PENDING);
    assert_int_equal(bad->verdict, PH_REJECT);
    assert_string_equal(bad->cause, "route.topic: {header:tenant} is absent in this event");
    assert_int_equal(behind->verdict, PH_PENDING);
    assert_str(behind->topic, "t.acme");
    assert_str(bad->order_key, "order-1");
    assert_true((bad)->verdict > PH_SENT);
    ph_batch_reset(f->batch);
    bad = add(f, "R", "A");
    bad->headers_json = PH_STR("{\"tenant\": \"acme\", \"k\": \"\"}");
    assert_int_equal(ph_route_batch(f->route, f->batch, NULL), 0);
    assert_string_equal(bad->cause, "route.rules.0.key: {header:k} is empty in this event");
}

static void bad_headers_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"[]",   "{\"a\":1",         "{\"a\": \"\\ud800\"}",
                                      "null", "{\"\\u0000\": 1}", "{}x"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        ph_batch_reset(f->batch);
        struct ph_event *event = add(f, "E", "A");
        event->headers_json = ph_str_from(bad[i]);
        assert_int_equal(run(f), 0);
        assert_int_equal(event->verdict, PH_REJECT);
        assert_non_null(strstr(event->cause, "headers: "));
    }
}

static void empty_id_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ph_event *event = add(f, "E", "A");
    event->aggregate_id = PH_STR("");
    assert_int_equal(run(f), 0);
    assert_string_equal(event->cause, "route.key: {aggregate_id} is empty in this event");
}

static void one_event(void **state)
{
    struct fixture *f = *state;
    set(f, "topic", "{header:tenant}");
    assert_int_equal(ph_route_new(&f->config, &f->route, NULL), 0);
    struct ph_arena *arena = &f->batch->arena;
    struct ph_event *event = add(f, "E", "A");
    struct ph_error err = {0};
    assert_int_equal(ph_route_event(f->route, arena, event, &err), PH_E_REFUSED);
    assert_non_null(strstr(err.text, "route.topic"));
    event->headers_json = PH_STR("{\"tenant\": \"acme\"}");
    assert_int_equal(ph_route_event(f->route, arena, event, &err), 0);
    assert_str(event->topic, "acme");
    assert_str(event->key, "order-1");
    assert_null(event->body.ptr);
}

static void content_type_goes_with_the_payload_only(void **state)
{
    struct fixture *f = *state;
    set(f, "envelope", "json");
    struct ph_event *event = add(f, "E", "A");
    event->content_type = PH_STR("image/png");
    assert_int_equal(run(f), 1);
    assert_int_equal(event->header_count, 6);
    assert_non_null(memmem(event->body.ptr, event->body.len, "\"dataBase64\":", 13));
}

static void check_rule_refused(const char *name, const char *value, const char *word)
{
    struct ph_route_config config = {0};
    struct ph_error err = {0};
    assert_int_equal(ph_route_rule_set(&config, ph_str_from(name), ph_str_from(value), &err),
                     PH_E_CONFIG);
    if (!strstr(err.text, word)) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, word);
    }
    assert_int_equal(config.rule_count, 0);
}

static void rule_mistakes(void **state)
{
    (void)state;
    check_rule_refused("", "x", "route.rules.N.FIELD");
    check_rule_refused("topic", "x", "route.rules.N.FIELD");
    check_rule_refused("x.topic", "x", "route.rules.x.topic");
    check_rule_refused(".topic", "x", "route.rules.N.FIELD");
    check_rule_refused("64.topic", "x", "0 to 63");
    check_rule_refused("0.topik", "x", "did you mean route.rules.0.topic?");
    check_rule_refused("0.", "x", "unknown option");
    check_rule_refused("3.envelope", "xml", "none|json");
}

static void check_config_refused(struct fixture *f, const char *word)
{
    struct ph_error err = {0};
    assert_int_equal(ph_route_new(&f->config, &f->route, &err), PH_E_CONFIG);
    assert_null(f->route);
    if (!strstr(err.text, word)) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, word);
    }
}

static void config_mistakes(void **state)
{
    struct fixture *f = *state;
    set(f, "rules.1.topic", "{x}");
    check_config_refused(f, "route.rules.0 is not set");
    set(f, "rules.0.topic", "ok");
    check_config_refused(f, "route.rules.1.topic: \"{x}\", character 1");
    set(f, "rules.1.topic", "ok");
    set(f, "rules.1.key", "a}");
    check_config_refused(f, "route.rules.1.key: \"a}\", character 2");
    set(f, "topic", "");
    check_config_refused(f, "route.topic: ");
}

static void all_rules(void **state)
{
    struct fixture *f = *state;
    char name[40];
    for (unsigned i = 0; i < PH_ROUTE_RULES_MAX; i++) {
        (void)snprintf(name, sizeof name, "rules.%u.event_type", i);
        set(f, name, i == PH_ROUTE_RULES_MAX - 1 ? "E" : "none");
        (void)snprintf(name, sizeof name, "rules.%u.topic", i);
        set(f, name, name);
        (void)snprintf(name, sizeof name, "rules.%u.key", i);
        set(f, name, "k{aggregate_id}");
    }
    struct ph_event *event = add(f, "E", "A");
    assert_int_equal(run(f), 1);
    assert_str(event->topic, "rules.63.topic");
    assert_str(event->key, "korder-1");
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    set(f, "rules.0.event_type", "E");
    set(f, "rules.0.topic", "x{event_type}");
    struct ph_error err = {0};
    int rc = PH_E_NOMEM;
    for (long ok = 0; rc < 0; ok++) {
        unit_memory_fail_after(ok);
        rc = ph_route_new(&f->config, &f->route, &err);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
        assert_true(ok < 100);
    }
    unit_memory_fail_after(-1);
    for (size_t bytes = 0; bytes < 3000; bytes += 16) {
        struct ph_batch *batch = ph_batch_new(1, bytes);
        struct ph_batch *kept = f->batch;
        f->batch = batch;
        struct ph_event *event = add(f, "E", "A");
        event->headers_json = PH_STR("{\"a\\n\": \"b\\n\", \"c\": 1}");
        rc = run(f);
        assert_true(rc == 1 || rc == PH_E_NOMEM);
        f->batch = kept;
        ph_batch_free(batch);
    }
    assert_int_equal(rc, 1);
}

#define ROUTE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(default_route),
        ROUTE_TEST(config_without_defaults),
        ROUTE_TEST(own_headers),
        ROUTE_TEST(headers_on_request),
        ROUTE_TEST(many_headers),
        ROUTE_TEST(tombstone_and_no_key),
        ROUTE_TEST(runs_of_one_type_share_the_topic),
        ROUTE_TEST(topics_by_id_are_not_shared),
        ROUTE_TEST(rules),
        ROUTE_TEST(refusal_concerns_one_event),
        ROUTE_TEST(bad_headers_are_refused),
        ROUTE_TEST(empty_id_is_refused),
        ROUTE_TEST(one_event),
        ROUTE_TEST(content_type_goes_with_the_payload_only),
        ROUTE_TEST(rule_mistakes),
        ROUTE_TEST(config_mistakes),
        ROUTE_TEST(all_rules),
        ROUTE_TEST(memory_fails),
    };
    return cmocka_run_group_tests_name("core/route", tests, NULL, NULL);
}
