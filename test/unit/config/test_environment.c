/* Variables: which option and which pipeline they mean, what is refused, what is left alone. */
#include "unit.h"

#include "config/environment.h"
#include "fake_drivers.h"

struct fixture {
    struct ph_values values;
    struct ph_buf problems;
    bool disabled;
    int rc;
};

static const char *const names[] = {"orders", "audit.log", "audit-log", "a__b", "end-"};

static void read_all(struct fixture *f, const char *const *environ)
{
    *f = (struct fixture){.rc = 0};
    ph_buf_init(&f->problems, 65536);
    const struct ph_environment_args args = {
        .environ = (char *const *)(uintptr_t)environ, .names = names, .name_count = COUNT(names)};
    f->rc = ph_environment_read(&args, &f->values, &f->disabled, &f->problems);
}

static void drop(struct fixture *f)
{
    ph_values_free(&f->values);
    ph_buf_free(&f->problems);
}

static void has(const struct fixture *f, const char *pipeline, const char *key, const char *value)
{
    const struct ph_value *found = ph_values_find(&f->values, pipeline, key);
    assert_non_null(found);
    assert_string_equal(found->value, value);
}

static void meanings(void **state)
{
    (void)state;
    static const char *const environ[] = {
        "POSTHORN_LEASE=9s",
        "POSTHORN_ORDERS__BATCH_EVENTS=5",
        "POSTHORN_SOURCE_POLL_MAX=2ms",
        "POSTHORN_ORDERS__SINK_KAFKA_LINGER_MS=4",
        "POSTHORN_SOURCE_URI_FILE=uri",
        "POSTHORN_A__B__WINDOW=2",
        "POSTHORN_END___WINDOW=3",
        "POSTHORN_MATCH_EVENT_TYPE=A=B",
        "HOME=/root",
        NULL,
    };
    struct fixture f;
    read_all(&f, environ);
    assert_string_equal(ph_buf_text(&f.problems), "");
    assert_int_equal(f.rc, 0);
    assert_int_equal(f.values.count, 8);
    has(&f, "a__b", "window", "2");
    has(&f, "end-", "window", "3");
    has(&f, "", "lease", "9s");
    has(&f, "orders", "batch_events", "5");
    has(&f, "", "source.poll_max", "2ms");
    has(&f, "orders", "sink.kafka.linger.ms", "4");
    has(&f, "", "source.uri_file", "uri");
    has(&f, "", "match.event_type", "A=B");
    assert_string_equal(ph_values_find(&f.values, "", "lease")->origin, "POSTHORN_LEASE");
    assert_false(f.disabled);
    drop(&f);
}

static void one_mistake(const char *variable, const char *expected)
{
    const char *const environ[] = {variable, NULL};
    struct fixture f;
    read_all(&f, environ);
    if (f.rc != PH_E_CONFIG || !strstr(ph_buf_text(&f.problems), expected)) {
        fail_msg("%s: %d '%s'", variable, f.rc, ph_buf_text(&f.problems));
    }
    assert_int_equal(f.values.count, 0);
    drop(&f);
}

static void mistakes(void **state)
{
    (void)state;
    one_mistake("POSTHORN_SOURCE_POL_MAX=1", "did you mean ...SOURCE_POLL_MAX?");
    one_mistake("POSTHORN_LEASR=1",
                "POSTHORN_LEASR: no option is called so (did you mean ...LEASE?)");
    one_mistake("POSTHORN_SINK_ZEBRA=1", "POSTHORN_SINK_ZEBRA: no option is called so");
    one_mistake("POSTHORN_ORDERS__ZEBRA=1", "no option is called so");
    one_mistake("POSTHORN_NIX__LEASE=1", "no pipeline of that name");
    one_mistake("POSTHORN_AUDIT_LOG__LEASE=1s", "several pipelines");
    one_mistake("OUTBOX_ENABLED=perhaps", "OUTBOX_ENABLED: expected true or false");
}

static void what_is_not_ours(void **state)
{
    (void)state;
    static const char *const environ[] = {
        "POSTHORN_SERVICE_HOST=10.0.0.1",
        "POSTHORN_PORT_8080_TCP_ADDR=10.0.0.1",
        "POSTHORN_CONFIG=/etc/x",
        "POSTHORN_CACHE=/tmp",
        "POSTHORN=/usr/bin/posthorn",
        "OUTBOX_TABLE=x",
        "NONSENSE",
        NULL,
    };
    struct fixture f;
    read_all(&f, environ);
    assert_int_equal(f.rc, 0);
    assert_int_equal(f.values.count, 0);
    assert_string_equal(ph_buf_text(&f.problems), "");
    drop(&f);
}

static void aliases_lose_against_our_own(void **state)
{
    (void)state;
    static const char *const environ[] = {
        "POSTHORN_BATCH_EVENTS=7",  "OUTBOX_BATCH_SIZE=100", "OUTBOX_POLL_INTERVAL=250",
        "OUTBOX_RETENTION_DAYS=30", "OUTBOX_ENABLED=false",  NULL,
    };
    struct fixture f;
    read_all(&f, environ);
    assert_int_equal(f.rc, 0);
    assert_true(f.disabled);
    has(&f, "", "batch_events", "7");
    has(&f, "", "source.poll_max", "250ms");
    has(&f, "", "source.retention", "30d");
    drop(&f);
}

static void a_unit_that_is_given_stays(void **state)
{
    (void)state;
    static const char *const environ[] = {"OUTBOX_POLL_INTERVAL=2s", "OUTBOX_ENABLED=true", NULL};
    struct fixture f;
    read_all(&f, environ);
    has(&f, "", "source.poll_max", "2s");
    assert_false(f.disabled);
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meanings, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(mistakes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(what_is_not_ours, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(aliases_lose_against_our_own, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(a_unit_that_is_given_stays, unit_memory_watch,
                                        unit_memory_restore),
    };
    return cmocka_run_group_tests_name("config/environment", tests, NULL, NULL);
}
