/*
 * The Kafka sink against a real broker (PH_TEST_KAFKA=host:port): a refused event is found among
 * its neighbours, nothing later of its key is in the topic, and what was not refused arrives once
 * the pipeline goes on. The topics are made by the test that starts this program: poison
 * (max.message.bytes=30000), small (max.message.bytes=2000), compacted (cleanup.policy=compact),
 * plain; each with 4 partitions.
 */
#include "kafka_fixture.h"

static void assert_exactly(const struct fixture *f, int poison)
{
    assert_int_equal(f->batch->refused, 1);
    for (int i = 0; i < COUNT; i++) {
        const struct ph_event *event = &f->batch->events[i];
        if (i == poison) {
            assert_int_equal(event->verdict, PH_REJECT);
            assert_non_null(event->cause);
        } else {
            assert_int_not_equal(event->verdict, PH_REJECT);
            assert_true(i > poison || event->verdict == PH_SENT);
        }
    }
}

/* The broker refuses; librdkafka cannot know before, since the batch is compressed. */
static void test_one_poison_in_a_crowd(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const sets[] = {"kafka.compression.type", "lz4", NULL};
    open_sink(&f, sets);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "poison", i, i % 50, i == 617 ? 60000 : 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_exactly(&f, 617);
    driver->abandon(f.sink);
    struct found found = read_back(&f, "poison", "key-17", 617);
    assert_int_equal(found.later, 0);
    assert_true(found.total >= 617);
    close_sink(&f);
}

static void test_too_large_is_seen_before(void **state)
{
    (void)state;
    struct fixture f;
    open_sink(&f, NULL);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "small", i, i % 50, i == 400 ? 5000 : 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_exactly(&f, 400);
    assert_non_null(strstr(f.batch->events[400].cause, "max.message.bytes=2000"));
    driver->abandon(f.sink);
    struct found found = read_back(&f, "small", "key-0", 400);
    assert_int_equal(found.later, 0);
    assert_int_equal(found.total, 400);
    close_sink(&f);
}

static void test_no_key_on_a_compacted_topic(void **state)
{
    (void)state;
    struct fixture f;
    open_sink(&f, NULL);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "compacted", i, i == 123 ? -1 : i % 50, 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_exactly(&f, 123);
    driver->abandon(f.sink);
    assert_int_equal(read_back(&f, "compacted", "key-23", 0).total, 123);
    close_sink(&f);
}

static void test_goes_on_after_abandon(void **state)
{
    (void)state;
    struct fixture f;
    open_sink(&f, NULL);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, i == 10 ? "small" : "plain", 5000 + i, i % 50, i == 10 ? 5000 : 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_int_equal(f.batch->events[10].verdict, PH_REJECT);
    driver->abandon(f.sink);
    ph_batch_reset(f.batch);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "plain", 7000 + i, i % 50, 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_true(ph_batch_done(f.batch));
    close_sink(&f);
}

static void test_queue_full_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const sets[] = {"kafka.queue.buffering.max.messages", "50", NULL};
    open_sink(&f, sets);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "plain", 9000 + i, i % 50, 10);
    }
    submit(&f);
    settle(&f, 60000);
    assert_true(ph_batch_done(f.batch));
    close_sink(&f);
}

/* Port 1 on loopback: nobody is there. */
static void test_dead_broker_does_not_hang(void **state)
{
    (void)state;
    struct fixture f;
    struct ph_error err = {0};
    struct ph_sink_env alive = env;
    env.uri = "kafka://127.0.0.1:1";
    open_sink(&f, NULL);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "plain", i, i, 10);
    }
    int64_t begun = ph_clock_mono_us();
    int rc = driver->submit(f.sink, f.batch, &err);
    assert_int_equal(rc, PH_E_UNAVAILABLE);
    assert_int_equal(driver->poll(f.sink, 100, &err), PH_E_UNAVAILABLE);
    driver->abandon(f.sink);
    close_sink(&f);
    assert_true(ph_clock_mono_us() - begun < 15000000);
    env = alive;
}

static void test_promises_cannot_be_unset(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"kafka.acks", "1"},
                                         {"kafka.enable.idempotence", "false"},
                                         {"kafka.message.timeout.ms", "5000"},
                                         {"kafka.transactional.id", "x"},
                                         {"kafka.no.such.property", "1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        static char config[16384];
        struct ph_error err = {0};
        void *sink = NULL;
        memset(config, 0, sizeof config);
        assert_int_equal(ph_options_defaults(driver->options, config, &err), 0);
        int rc = ph_option_set(driver->options, config, "sink.", ph_str_from(bad[i][0]),
                               ph_str_from(bad[i][1]), &err);
        rc = rc < 0 ? rc : driver->open(&env, config, &sink, &err);
        assert_int_equal(rc, PH_E_CONFIG);
        assert_non_null(strstr(err.text, bad[i][0]));
        ph_options_free(driver->options, config);
    }
}

int main(void)
{
    const char *broker = getenv("PH_TEST_KAFKA");
    if (!broker) {
        (void)printf("1..0 # SKIP PH_TEST_KAFKA names no broker\n");
        return 0;
    }
    (void)snprintf(uri, sizeof uri, "kafka://%s", broker);
    env = (struct ph_sink_env){.pipeline = "test", .uri = uri, .window_batches = 4, .warn = warn};
    driver = ph_sink_find(uri);
    assert_non_null(driver);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_poison_in_a_crowd),
        cmocka_unit_test(test_too_large_is_seen_before),
        cmocka_unit_test(test_no_key_on_a_compacted_topic),
        cmocka_unit_test(test_goes_on_after_abandon),
        cmocka_unit_test(test_queue_full_goes_on),
        cmocka_unit_test(test_dead_broker_does_not_hang),
        cmocka_unit_test(test_promises_cannot_be_unset),
    };
    return cmocka_run_group_tests_name("kafka_real", tests, NULL, NULL);
}
