/* What is read back from the checkpoint topic, record by record, and the rows that were sent. */
#include "unit.h"

#include "sink/kafka_txn.h"

static const char whole[] =
    "{\"version\":1,\"serial\":7,\"tick\":12,\"position\":345,\"snapshot\":\"10:20:12,13\","
    "\"base_snapshot\":\"10:19:\",\"start_snapshot\":\"3:3:\",\"log\":\"1:2:3\",\"timeline\":4,"
    "\"epoch\":5}";

static int take(struct ph_kafka_found *found, const char *key, const char *value)
{
    struct ph_error err = {0};
    return ph_kafka_ledger_take(found, ph_str_from(key), ph_str_from(value), &err);
}

static void the_last_checkpoint_counts(void **state)
{
    (void)state;
    struct ph_kafka_found found = {0};
    assert_int_equal(take(&found, "somebody's", "else"), 0);
    assert_false(found.found);
    assert_int_equal(take(&found, "checkpoint", whole), 0);
    assert_true(found.found);
    assert_int_equal(found.serial, 7);
    assert_int_equal(found.kept.cp.at.position, 345);
    assert_true(ph_str_is(found.kept.cp.log, "1:2:3"));
    ph_kafka_found_free(&found);
    assert_false(found.found);
}

static void a_broken_record_is_refused(void **state)
{
    (void)state;
    struct ph_kafka_found found = {0};
    assert_int_equal(take(&found, "checkpoint", "{}"), PH_E_DATA);
    assert_int_equal(take(&found, "checkpoint", NULL), PH_E_DATA);
    assert_false(found.found);
    assert_int_equal(take(&found, "sent/1", "1"), PH_E_DATA);
    assert_int_equal(take(&found, "sent/1-2-3", "1"), PH_E_DATA);
    ph_kafka_found_free(&found);
}

static void rows_that_were_sent(void **state)
{
    (void)state;
    struct ph_kafka_found found = {0};
    assert_int_equal(take(&found, "sent/3-30", "1"), 0);
    assert_int_equal(take(&found, "sent/1-10", "1"), 0);
    assert_int_equal(take(&found, "sent/3-30", "1"), 0);
    assert_int_equal(take(&found, "sent/2-20", "1"), 0);
    assert_int_equal(found.sent.count, 3);
    assert_true(ph_kafka_rows_have(&found.sent, (struct ph_position){2, 20}));
    assert_int_equal(take(&found, "sent/2-20", NULL), 0);
    assert_int_equal(take(&found, "sent/2-20", NULL), 0);
    assert_int_equal(found.sent.count, 2);
    assert_false(ph_kafka_rows_have(&found.sent, (struct ph_position){2, 20}));
    assert_true(ph_kafka_rows_have(&found.sent, (struct ph_position){1, 10}));
    assert_true(ph_kafka_rows_have(&found.sent, (struct ph_position){3, 30}));
    ph_kafka_found_free(&found);
}

static void rows_keep_their_order(void **state)
{
    (void)state;
    struct ph_kafka_rows rows = {0};
    struct ph_error err = {0};
    for (int64_t i = 0; i < 1000; i++) { /* 7 and 1000 have no common divisor: each comes once */
        assert_int_equal(ph_kafka_rows_add(&rows, (struct ph_position){1, i * 7 % 1000}, &err), 0);
    }
    assert_int_equal(rows.count, 1000);
    for (size_t i = 0; i < rows.count; i++) {
        assert_int_equal(rows.at[i].position, i);
    }
    for (int64_t i = 0; i < 1000; i += 2) {
        ph_kafka_rows_remove(&rows, (struct ph_position){1, i});
    }
    assert_int_equal(rows.count, 500);
    assert_false(ph_kafka_rows_have(&rows, (struct ph_position){1, 500}));
    assert_true(ph_kafka_rows_have(&rows, (struct ph_position){1, 501}));
    ph_kafka_rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_checkpoint_counts),
        cmocka_unit_test(a_broken_record_is_refused),
        cmocka_unit_test(rows_that_were_sent),
        cmocka_unit_test(rows_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
