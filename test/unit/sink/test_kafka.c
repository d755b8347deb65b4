/*
 * The Kafka sink against librdkafka's mock cluster: what each class of error leads to, without a
 * broker.
 */
#include "kafka_rig.h"

static void test_all_are_sent(void **state)
{
    struct rig *r = *state;
    fill(r, COUNT);
    assert_int_equal(submit(r), 0);
    assert_int_equal(poll_on(r, false), 0);
    assert_int_equal(r->batch->settled, COUNT);
}

/* Somebody in the batch was refused; sent one by one they all pass. */
static void test_a_crowd_is_sent_alone(void **state)
{
    struct rig *r = *state;
    rd_kafka_mock_push_request_errors(r->cluster, PRODUCE_KEY, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
    fill(r, 50);
    assert_int_equal(submit(r), 0);
    (void)poll_on(r, false);
    assert_int_equal(r->batch->settled, 50);
    const struct ph_kafka *k = r->sink;
    assert_true(k->renewals >= 1);
    assert_int_equal(k->refusals, 0);
}

/* What fails in the crowd and again alone is refused, and nothing behind it is sent. */
static void test_one_is_refused_alone(void **state)
{
    struct rig *r = *state;
    /* more than one: several requests may be out before the first answer comes */
    rd_kafka_resp_err_t errors[20];
    for (size_t n = 0; n < 20; n++) {
        errors[n] = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    }
    rd_kafka_mock_push_request_errors_array(r->cluster, PRODUCE_KEY, 20, errors);
    fill(r, 20);
    assert_int_equal(submit(r), 0);
    (void)poll_on(r, false);
    assert_int_equal(r->batch->refused, 1);
    size_t i = 0;
    while (r->batch->events[i].verdict == PH_SENT) {
        i++;
    }
    assert_int_equal(r->batch->events[i].verdict, PH_REJECT);
    assert_non_null(strstr(r->batch->events[i].cause, "events"));
    for (i++; i < 20; i++) {
        assert_int_equal(r->batch->events[i].verdict, PH_PENDING);
    }
    struct ph_error err = {0};
    assert_int_equal(ph_sink_kafka.poll(r->sink, 50, &err), 0);
    assert_int_equal(r->batch->refused, 1);
    ph_sink_kafka.abandon(r->sink);
}

/* A fatal error of the idempotent producer: a new one, the same events. */
static void test_a_fatal_error_is_outlived(void **state)
{
    struct rig *r = *state;
    struct ph_kafka *k = r->sink;
    fill(r, 10);
    assert_int_equal(submit(r), 0);
    (void)poll_on(r, false);
    assert_int_equal(
        rd_kafka_test_fatal_error(k->rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test"),
        0);
    ph_batch_reset(r->batch);
    fill(r, 10);
    (void)submit(r);
    (void)poll_on(r, false);
    assert_int_equal(r->batch->settled, 10);
    assert_true(k->renewals >= 1);
}

static void test_down_and_back(void **state)
{
    struct rig *r = *state;
    fill(r, 10);
    assert_int_equal(submit(r), 0);
    (void)poll_on(r, false);
    rd_kafka_mock_broker_set_down(r->cluster, 1);
    ph_batch_reset(r->batch);
    fill(r, 10);
    (void)submit(r);
    assert_int_equal(poll_on(r, true), PH_E_UNAVAILABLE);
    assert_int_equal(r->batch->settled, 0);
    rd_kafka_mock_broker_set_up(r->cluster, 1);
    (void)poll_on(r, false);
    assert_int_equal(r->batch->settled, 10);
}

static void test_abandon_with_a_dead_broker_is_quick(void **state)
{
    struct rig *r = *state;
    fill(r, 10);
    assert_int_equal(submit(r), 0);
    (void)poll_on(r, false);
    rd_kafka_mock_broker_set_down(r->cluster, 1);
    ph_batch_reset(r->batch);
    fill(r, 100);
    (void)submit(r);
    (void)poll_on(r, true);
    int64_t begun = ph_clock_mono_us();
    ph_sink_kafka.abandon(r->sink);
    assert_true(ph_clock_mono_us() - begun < 5000000);
    assert_int_equal(r->batch->settled, 0);
}

static void test_what_an_error_asks_for(void **state)
{
    (void)state;
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), PH_KAFKA_ALONE);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR_INVALID_RECORD), PH_KAFKA_ALONE);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
                     PH_KAFKA_ALONE);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN), PH_KAFKA_DOWN);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), PH_KAFKA_DOWN);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED),
                     PH_KAFKA_DOWN);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR__PURGE_QUEUE), PH_KAFKA_RESEND);
    assert_int_equal(ph_kafka_classify(RD_KAFKA_RESP_ERR__FATAL), PH_KAFKA_RESEND);
}

/* As many batches as the option window may say, and one of rows that come back. */
static void test_the_widest_window(void **state)
{
    struct rig *r = *state;
    struct ph_error err = {0};
    ph_sink_kafka.close(r->sink);
    r->env.window_batches = 65;
    assert_int_equal(ph_sink_kafka.open(&r->env, &r->config, &r->sink, &err), 0);
    struct ph_batch *batches[65];
    for (size_t i = 0; i < 65; i++) {
        batches[i] = ph_batch_new(1, 1 << 16);
        ph_batch_free(r->batch);
        r->batch = batches[i];
        fill(r, 1);
        r->batch = ph_batch_new(1, 1 << 16);
        assert_int_equal(ph_sink_kafka.submit(r->sink, batches[i], &err), 0);
    }
    for (size_t i = 0; i < 65; i++) {
        while (!ph_batch_done(batches[i])) {
            assert_int_equal(ph_sink_kafka.poll(r->sink, 20, &err), 0);
        }
    }
    for (size_t i = 0; i < 65; i++) {
        ph_batch_free(batches[i]);
    }
}

static void test_uris(void **state)
{
    (void)state;
    char out[64];
    struct ph_error err = {0};
    assert_int_equal(ph_kafka_brokers("kafka://a:1,b:2", out, sizeof out, &err), 0);
    assert_string_equal(out, "a:1,b:2");
    static const char *const bad[] = {"kafka://", "kafka:", "kafka://a:1/x", "kafka://user@a:1",
                                      "kafka://a?x=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ph_kafka_brokers(bad[i], out, sizeof out, &err), PH_E_CONFIG);
    }
    char tiny[4];
    assert_int_equal(ph_kafka_brokers("kafka://a:1,b:2", tiny, sizeof tiny, &err), PH_E_CONFIG);
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_all_are_sent),
        RIGGED(test_a_crowd_is_sent_alone),
        RIGGED(test_one_is_refused_alone),
        RIGGED(test_a_fatal_error_is_outlived),
        RIGGED(test_the_widest_window),
        RIGGED(test_down_and_back),
        RIGGED(test_abandon_with_a_dead_broker_is_quick),
        cmocka_unit_test(test_what_an_error_asks_for),
        cmocka_unit_test(test_uris),
    };
    return cmocka_run_group_tests_name("kafka", tests, NULL, NULL);
}
