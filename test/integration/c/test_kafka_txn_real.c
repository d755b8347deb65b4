/*
 * Exactly-once of the Kafka sink against a real broker (PH_TEST_KAFKA=host:port): who resumes shuts
 * out whoever wrote before and learns how far that one came; a refused event is found alone; rows
 * that were sent are not sent again. The topics are made by the test that starts this program:
 * txn-poison (max.message.bytes=30000), txn-plain, txn-open, txn-left, txn-rows.
 */
#include "kafka_fixture.h"

#include <librdkafka/rdkafka.h>

#include "core/park.h"

static struct ph_checkpoint place(int64_t position, int64_t epoch)
{
    return (struct ph_checkpoint){.at = {1, position},
                                  .snapshot = PH_STR("3:3:"),
                                  .base_snapshot = PH_STR("3:3:"),
                                  .start_snapshot = PH_STR("3:3:"),
                                  .log = PH_STR("a:log"),
                                  .timeline = 1,
                                  .epoch = epoch};
}

/* A session that begins where the sink is, or at 0. */
static int64_t begin(struct fixture *f, int64_t epoch, bool anew)
{
    struct ph_error err = {0};
    struct ph_checkpoint theirs, mine = place(0, epoch);
    int found = driver->resume(f->sink, &theirs, &err);
    if (found < 0) {
        fail_msg("resume: %s", err.text);
    }
    if (found == 1 && !anew) {
        mine = theirs;
        mine.epoch = epoch;
    }
    int64_t at = mine.at.position;
    if (driver->begin(f->sink, &mine, anew, &err) < 0) {
        fail_msg("begin: %s", err.text);
    }
    assert_int_equal(driver->kept_at(f->sink).position, at);
    return at;
}

static void deliver(struct fixture *f, const char *topic, int from, int count)
{
    ph_batch_reset(f->batch);
    for (int i = 0; i < count; i++) {
        (void)add(f, topic, from + i, i % 50, 10);
    }
    submit(f);
    settle(f, 60000);
    assert_true(ph_batch_done(f->batch));
}

static void test_the_next_one_goes_on_and_shuts_out(void **state)
{
    (void)state;
    struct fixture first, second;
    struct ph_error err = {0};
    env.pipeline = "shut-out";
    open_sink(&first, NULL);
    assert_int_equal(begin(&first, 1, false), 0);
    deliver(&first, "txn-plain", 1, 700);
    deliver(&first, "txn-plain", 701, 50);
    assert_int_equal(driver->kept_at(first.sink).position, 750);
    open_sink(&second, NULL);
    assert_int_equal(begin(&second, 2, false), 750);
    ph_batch_reset(first.batch);
    (void)add(&first, "txn-plain", 751, 1, 10);
    submit(&first);
    int rc = 0;
    for (int i = 0; i < 500 && rc != PH_E_FENCED; i++) {
        rc = driver->poll(first.sink, 20, &err);
        assert_int_equal(first.batch->settled, 0);
    }
    assert_int_equal(rc, PH_E_FENCED);
    driver->abandon(first.sink);
    deliver(&second, "txn-plain", 751, 50);
    assert_int_equal(read_back(&second, "txn-plain", "key-0", 751).total, 800);
    close_sink(&first);
    assert_int_equal(begin(&second, 3, false), 800);
    close_sink(&second);
}

/* What is open when a sink is closed does not keep readers waiting, and never happened. */
static void test_what_is_open_at_the_end_is_gone(void **state)
{
    (void)state;
    struct fixture f;
    env.pipeline = "left-open";
    open_sink(&f, NULL);
    (void)begin(&f, 1, false);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "txn-open", 1 + i, i % 50, 10);
    }
    submit(&f);
    close_sink(&f);
    open_sink(&f, NULL);
    assert_int_equal(begin(&f, 2, false), 0);
    deliver(&f, "txn-open", 1, 10);
    assert_int_equal(read_back(&f, "txn-open", "key-0", 1).total, 10);
    close_sink(&f);
}

static rd_kafka_t *client(const char *isolation)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", uri + strlen("kafka://"), why, sizeof why),
        RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "isolation.level", isolation, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(rk);
    return rk;
}

/* How far such a reader of a topic of one partition gets. */
static int64_t end_of(rd_kafka_t *rk, const char *topic)
{
    int64_t low = 0, high = 0;
    (void)rd_kafka_query_watermark_offsets(rk, topic, 0, &low, &high, 5000);
    return high;
}

/* Readers of what is committed get to the end at once, long before the transaction's time is over.
 */
static void test_what_is_abandoned_is_aborted(void **state)
{
    (void)state;
    struct fixture f;
    struct ph_error err = {0};
    static const char *const sets[] = {"kafka.transaction.timeout.ms", "120000", NULL};
    rd_kafka_t *all = client("read_uncommitted"), *committed = client("read_committed");
    env.pipeline = "abandoned";
    open_sink(&f, sets);
    (void)begin(&f, 1, false);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "txn-left", 1 + i, i % 50, 15000);
    }
    assert_int_equal(end_of(all, "txn-left"), 0); /* they are connected then */
    assert_int_equal(end_of(committed, "txn-left"), 0);
    submit(&f);
    int64_t deadline_us = ph_clock_mono_us() + 30000000;
    while (end_of(all, "txn-left") == 0 && ph_clock_mono_us() < deadline_us) {
        assert_int_equal(driver->poll(f.sink, 1, &err), 0);
    }
    assert_true(end_of(all, "txn-left") > 0);
    assert_int_equal(end_of(committed, "txn-left"), 0); /* else nothing was open */
    driver->abandon(f.sink);
    deadline_us = ph_clock_mono_us() + 30000000;
    while (end_of(committed, "txn-left") < end_of(all, "txn-left")) {
        assert_true(ph_clock_mono_us() < deadline_us);
        (void)ph_stop_wait(NULL, 20);
    }
    assert_int_equal(read_back(&f, "txn-left", "key-0", 1).total, 0);
    close_sink(&f);
    rd_kafka_destroy(all);
    rd_kafka_destroy(committed);
}

/* The broker refuses one of them; the sink finds it, and everything before it is committed. */
static void test_a_poison_in_a_transaction(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const sets[] = {"kafka.compression.type", "lz4", NULL};
    env.pipeline = "poison";
    open_sink(&f, sets);
    (void)begin(&f, 1, false);
    for (int i = 0; i < COUNT; i++) {
        (void)add(&f, "txn-poison", 1 + i, i % 50, i == 617 ? 60000 : 10);
    }
    submit(&f);
    settle(&f, 120000);
    assert_int_equal(f.batch->refused, 1);
    assert_int_equal(f.batch->events[617].verdict, PH_REJECT);
    assert_non_null(f.batch->events[617].cause);
    assert_int_equal(f.batch->settled, 617);
    driver->abandon(f.sink);
    assert_int_equal(driver->kept_at(f.sink).position, 617);
    assert_int_equal(read_back(&f, "txn-poison", "key-17", 618).total, 617);
    deliver(&f, "txn-poison", 619, 20);
    assert_int_equal(read_back(&f, "txn-poison", "key-17", 618).total, 637);
    close_sink(&f);
}

static const struct ph_park_row row = {.state = PH_PARK_PARKED, .attempts = 1};

/* Rows that came due: no checkpoint is behind them. */
static void send_rows(struct fixture *f, int from, int count)
{
    ph_batch_reset(f->batch);
    f->batch->due = true;
    for (int i = 0; i < count; i++) {
        add(f, "txn-rows", from + i, i, 10)->park = &row;
    }
    submit(f);
    settle(f, 60000);
}

static int count_rows(struct fixture *f)
{
    return read_back(f, "txn-rows", "", 0).total;
}

static void test_a_row_is_sent_once(void **state)
{
    (void)state;
    struct fixture f;
    env.pipeline = "rows";
    open_sink(&f, NULL);
    (void)begin(&f, 1, false);
    deliver(&f, "txn-plain", 100, 5);
    send_rows(&f, 10, 20);
    assert_int_equal(driver->kept_at(f.sink).position, 104);
    struct ph_position gone = {1, 10};
    driver->row_gone(f.sink, &gone);
    send_rows(&f, 11, 25); /* 11 to 29 were sent: 6 are new */
    assert_int_equal(count_rows(&f), 26);
    close_sink(&f);
    open_sink(&f, NULL); /* as after a crash: the rows may still be in the source */
    assert_int_equal(begin(&f, 2, false), 104);
    send_rows(&f, 11, 25);
    assert_int_equal(count_rows(&f), 26);
    send_rows(&f, 10, 1); /* its record was forgotten when the source had removed it */
    assert_int_equal(count_rows(&f), 27);
    driver->row_gone(f.sink, NULL);
    deliver(&f, "txn-plain", 105, 5);
    (void)begin(&f, 3, false);
    send_rows(&f, 11, 2);
    assert_int_equal(count_rows(&f), 29);
    (void)begin(&f, 4, true); /* anew */
    send_rows(&f, 11, 2);
    assert_int_equal(count_rows(&f), 31);
    close_sink(&f);
}

static void test_a_name_that_is_no_topic(void **state)
{
    (void)state;
    static char config[16384];
    struct ph_error err = {0};
    void *sink = NULL;
    env.pipeline = "sqlite:shop.db";
    memset(config, 0, sizeof config);
    assert_int_equal(ph_options_defaults(driver->options, config, &err), 0);
    assert_int_equal(driver->open(&env, config, &sink, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "letters, digits"));
    ph_options_free(driver->options, config);
}

int main(void)
{
    const char *broker = getenv("PH_TEST_KAFKA");
    if (!broker) {
        (void)printf("1..0 # SKIP PH_TEST_KAFKA names no broker\n");
        return 0;
    }
    struct ph_stop stop;
    assert_int_equal(ph_stop_init(&stop, NULL), 0);
    (void)snprintf(uri, sizeof uri, "kafka://%s", broker);
    env = (struct ph_sink_env){.uri = uri,
                               .shards = 1,
                               .exactly_once = true,
                               .window_batches = 4,
                               .stop = &stop,
                               .warn = warn};
    driver = ph_sink_find(uri);
    assert_non_null(driver);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_one_goes_on_and_shuts_out),
        cmocka_unit_test(test_what_is_open_at_the_end_is_gone),
        cmocka_unit_test(test_what_is_abandoned_is_aborted),
        cmocka_unit_test(test_a_poison_in_a_transaction),
        cmocka_unit_test(test_a_row_is_sent_once),
        cmocka_unit_test(test_a_name_that_is_no_topic),
    };
    int failed = cmocka_run_group_tests_name("kafka_txn_real", tests, NULL, NULL);
    ph_stop_free(&stop);
    return failed;
}
