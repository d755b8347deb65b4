/*
 * Each row of kafka_error.c that a broker can answer with, against librdkafka's mock cluster: what
 * is DOWN or sent again passes once the error is over, and charges no event; what concerns an event
 * is found by sending alone.
 */
#include "kafka_rig.h"

#define EVENTS 6

struct row {
    rd_kafka_resp_err_t err;
    enum ph_kafka_class class;
};

static const struct row rows[] = {
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, PH_KAFKA_ALONE},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, PH_KAFKA_ALONE},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, PH_KAFKA_ALONE},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, PH_KAFKA_ALONE},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, PH_KAFKA_ALONE},
};

static void push(struct rig *r, rd_kafka_resp_err_t err, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        rd_kafka_mock_push_request_errors(r->cluster, PRODUCE_KEY, 1, err);
    }
}

/* The error comes once: all are sent in the end, none is refused. */
static void test_an_error_that_passes(void **state)
{
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ph_batch_reset(r->batch);
        assert_int_equal(ph_kafka_classify(rows[i].err), rows[i].class);
        push(r, rows[i].err, 1);
        fill(r, EVENTS);
        (void)submit(r);
        (void)poll_on(r, false);
        print_message("# %s\n", rd_kafka_err2name(rows[i].err));
        assert_int_equal(r->batch->settled, EVENTS);
        assert_int_equal(((struct ph_kafka *)r->sink)->refusals, 0);
    }
}

/* The error stays: what concerns an event refuses exactly one, with a cause that names the error.
 */
static void test_an_error_that_stays(void **state)
{
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].class != PH_KAFKA_ALONE) {
            continue;
        }
        ph_batch_reset(r->batch);
        push(r, rows[i].err, 20);
        fill(r, EVENTS);
        (void)submit(r);
        (void)poll_on(r, false);
        assert_int_equal(r->batch->refused, 1);
        assert_int_equal(r->batch->events[0].verdict, PH_REJECT);
        assert_non_null(strstr(r->batch->events[0].cause, rd_kafka_err2str(rows[i].err)));
        ph_sink_kafka.abandon(r->sink);
        rd_kafka_mock_clear_request_errors(r->cluster, PRODUCE_KEY);
    }
}

/* kafka_client.c says what would be lost otherwise; the mock does not take a second request for the
 * first of a producer as a broker does, so test/fault/test_new_topics.py asks a real one. */
static void test_one_request_is_in_flight(void **state)
{
    struct rig *r = *state;
    char value[16];
    size_t size = sizeof value;
    fill(r, 1);
    (void)submit(r);
    (void)poll_on(r, false);
    const rd_kafka_conf_t *conf = rd_kafka_conf(((struct ph_kafka *)r->sink)->rk);
    assert_int_equal(rd_kafka_conf_get(conf, "max.in.flight.requests.per.connection", value, &size),
                     RD_KAFKA_CONF_OK);
    assert_string_equal(value, "1");
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_an_error_that_passes),
        RIGGED(test_an_error_that_stays),
        RIGGED(test_one_request_is_in_flight),
    };
    return cmocka_run_group_tests_name("kafka_errors", tests, NULL, NULL);
}
