/*
 * The comparing engine: a faultless log and sink, then every fault planted alone, then many at once
 * among 100,000 events.
 */
#include "unit.h"

#include "cli/verify_compare.h"

/* Event n has position n, tick n / 10 + 1, key n % keys, and an id made of n. */
static struct ph_uuid id_of(int64_t n)
{
    struct ph_uuid id = {{0}};
    for (size_t i = 0; i < 8; i++) {
        id.bytes[i] = (uint8_t)((uint64_t)n * 0x9e3779b97f4a7c15 >> 8 * i);
        id.bytes[i + 8] = (uint8_t)((uint64_t)n >> 8 * i);
    }
    return id;
}

static struct ph_position at_of(int64_t n)
{
    return (struct ph_position){n / 10 + 1, n};
}

struct world {
    struct ph_compare *compare;
    int64_t keys;
    uint64_t lanes;
    enum ph_origin unknown; /* the log's answer about every record it is asked for */
    size_t asked;
    struct ph_compare_result result;
};

static void begin(struct world *w, int64_t estimate)
{
    *w = (struct world){.keys = 3, .lanes = 2, .unknown = PH_ORIGIN_NONE};
    assert_int_equal(ph_compare_new(estimate, &w->compare, NULL), 0);
}

static void log_event(struct world *w, int64_t n)
{
    struct ph_uuid id = id_of(n);
    assert_int_equal(ph_compare_event(w->compare, &id, n, NULL), 0);
}

static void sink_has_at(struct world *w, int64_t n, struct ph_position at)
{
    char key[32];
    int64_t k = n % w->keys;
    (void)snprintf(key, sizeof key, "key-%lld", (long long)k);
    struct ph_record record = {id_of(n), at, ph_str_from(key), (uint64_t)k % w->lanes, false};
    assert_int_equal(ph_compare_record(w->compare, &record, NULL), 0);
}

static void sink_has(struct world *w, int64_t n)
{
    sink_has_at(w, n, at_of(n));
}

static int ask(void *arg, const struct ph_finding *records, size_t count, enum ph_origin *out,
               struct ph_error *err)
{
    (void)records;
    (void)err;
    struct world *w = arg;
    assert_true(count > 0 && count <= PH_COMPARE_LOOKUP_MAX);
    w->asked += count;
    for (size_t i = 0; i < count; i++) {
        out[i] = w->unknown;
    }
    return 0;
}

static void finish(struct world *w)
{
    struct ph_compare_lookup lookup = {ask, w};
    assert_int_equal(ph_compare_finish(w->compare, &lookup, &w->result, NULL), 0);
    ph_compare_free(w->compare);
}

static void assert_faults(const struct world *w, int64_t missing, int64_t duplicated,
                          int64_t out_of_order, int64_t phantom)
{
    assert_int_equal(w->result.faults[PH_FAULT_MISSING], missing);
    assert_int_equal(w->result.faults[PH_FAULT_DUPLICATED], duplicated);
    assert_int_equal(w->result.faults[PH_FAULT_OUT_OF_ORDER], out_of_order);
    assert_int_equal(w->result.faults[PH_FAULT_PHANTOM], phantom);
}

static void assert_found(const struct world *w, enum ph_fault fault, size_t i, int64_t n)
{
    struct ph_uuid id = id_of(n);
    assert_true(i < w->result.finding_count[fault]);
    assert_memory_equal(&w->result.findings[fault][i].id, &id, sizeof id);
    assert_int_equal(w->result.findings[fault][i].at.position, n);
}

static void nothing(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    finish(&w);
    assert_faults(&w, 0, 0, 0, 0);
}

static void faultless(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1000);
    for (int64_t n = 1; n <= 1000; n++) {
        log_event(&w, n);
    }
    for (int64_t n = 1; n <= 1000; n++) {
        sink_has(&w, n);
    }
    finish(&w);
    assert_faults(&w, 0, 0, 0, 0);
    assert_int_equal(w.result.events, 1000);
    assert_int_equal(w.result.records, 1000);
    assert_int_equal(w.asked, 0);
}

static void missing(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    for (int64_t n = 1; n <= 100; n++) {
        log_event(&w, n);
        if (n != 42) {
            sink_has(&w, n);
        }
    }
    finish(&w);
    assert_faults(&w, 1, 0, 0, 0);
    assert_found(&w, PH_FAULT_MISSING, 0, 42);
    assert_int_equal(w.result.findings[PH_FAULT_MISSING][0].at.tick, 0);
}

/* A run sent again, as after a crash: duplicates, but the first deliveries are in order. */
static void duplicated(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    for (int64_t n = 1; n <= 100; n++) {
        log_event(&w, n);
        sink_has(&w, n);
        if (n == 50) {
            for (int64_t again = 41; again <= 50; again++) {
                sink_has(&w, again);
                sink_has(&w, again);
            }
        }
    }
    finish(&w);
    assert_faults(&w, 0, 10, 0, 0);
    assert_int_equal(w.result.records, 120);
}

static void out_of_order(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    for (int64_t n = 1; n <= 100; n++) {
        log_event(&w, n);
    }
    for (int64_t n = 1; n <= 100; n++) {
        if (n != 30) {
            sink_has(&w, n);
        }
        if (n == 33) {
            sink_has(&w, 30); /* 33 has its key */
        }
    }
    finish(&w);
    assert_faults(&w, 0, 0, 1, 0);
    assert_found(&w, PH_FAULT_OUT_OF_ORDER, 0, 30);
}

/* Another key, or the same key in another lane: no order is promised there. */
static void other_keys_and_lanes(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    for (int64_t n = 1; n <= 4; n++) {
        log_event(&w, n);
    }
    static const int64_t order[] = {3, 2, 1};
    for (size_t i = 0; i < COUNT(order); i++) {
        sink_has(&w, order[i]);
    }
    struct ph_record record = {id_of(4), {1, 1}, PH_STR("key-0"), 77, false};
    record.at = at_of(4);
    assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
    record = (struct ph_record){id_of(7), at_of(7), PH_STR("key-0"), 77, false};
    log_event(&w, 7);
    assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
    record = (struct ph_record){id_of(6), at_of(6), PH_STR("key-0"), 77, true}; /* late */
    log_event(&w, 6);
    assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
    record = (struct ph_record){id_of(5), {1, 5}, {NULL, 0}, 77, false}; /* no key: no order */
    log_event(&w, 5);
    assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
    finish(&w);
    assert_faults(&w, 0, 0, 0, 0);
}

/* A later tick may hold a lower position: that is the log's order. */
static void ticks_count_first(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    log_event(&w, 3);
    log_event(&w, 6);
    sink_has_at(&w, 6, (struct ph_position){1, 6});
    sink_has_at(&w, 3, (struct ph_position){2, 3});
    finish(&w);
    assert_faults(&w, 0, 0, 0, 0);
}

static void wrong_position(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    log_event(&w, 1);
    log_event(&w, 2);
    sink_has(&w, 1);
    sink_has_at(&w, 2, (struct ph_position){1, 3});
    finish(&w);
    assert_faults(&w, 0, 0, 1, 0);
}

static void phantom(void **state)
{
    (void)state;
    for (int origin = PH_ORIGIN_KNOWN; origin <= PH_ORIGIN_NONE; origin++) {
        struct world w;
        begin(&w, 0);
        w.unknown = (enum ph_origin)origin;
        log_event(&w, 1);
        sink_has(&w, 1);
        for (int64_t n = 100; n < 2600; n++) {
            sink_has(&w, n);
        }
        finish(&w);
        assert_int_equal(w.asked, 2500);
        assert_faults(&w, 0, 0, 0, origin == PH_ORIGIN_NONE ? 2500 : 0);
        assert_int_equal(w.result.beyond_log, origin == PH_ORIGIN_GONE ? 2500 : 0);
        assert_int_equal(w.result.finding_count[PH_FAULT_PHANTOM],
                         origin == PH_ORIGIN_NONE ? PH_COMPARE_FINDINGS_MAX : 0);
    }
}

/* The application may give two events one id; each needs its own delivery. */
static void one_id_twice_in_the_log(void **state)
{
    (void)state;
    for (int delivered = 1; delivered <= 2; delivered++) {
        struct world w;
        begin(&w, 0);
        struct ph_uuid id = id_of(1);
        struct ph_record record = {id, {1, 10}, PH_STR("k"), 0, false};
        assert_int_equal(ph_compare_event(w.compare, &id, 10, NULL), 0);
        assert_int_equal(ph_compare_event(w.compare, &id, 20, NULL), 0);
        assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
        if (delivered == 2) {
            record.at.position = 20;
            assert_int_equal(ph_compare_record(w.compare, &record, NULL), 0);
        }
        finish(&w);
        assert_faults(&w, 2 - delivered, 0, 0, 0);
    }
}

static void many(void **state)
{
    (void)state;
    struct world w;
    const int64_t count = 100000;
    begin(&w, 10000000); /* many partitions */
    w.keys = 1000;
    w.lanes = 7;
    for (int64_t n = 1; n <= count; n++) {
        log_event(&w, n);
    }
    int64_t lost = 0, twice = 0, late = 0;
    for (int64_t n = 1; n <= count; n++) {
        if (n % 997 == 0) {
            lost++;
            continue;
        }
        if (n % 5003 == 0 && (n + 1000) % 997 != 0 && n + 1000 <= count) {
            sink_has(&w,
                     n + 1000); /* the next of its key comes first, then itself, then that again */
            late++;
            twice++;
        }
        sink_has(&w, n);
    }
    for (int64_t n = 1; n <= 20; n++) {
        sink_has(&w, count + n);
    }
    finish(&w);
    assert_faults(&w, lost, twice, late, 20);
}

static int refuse(void *arg, const struct ph_finding *records, size_t count, enum ph_origin *out,
                  struct ph_error *err)
{
    (void)arg;
    (void)records;
    (void)count;
    (void)out;
    return ph_fail(err, PH_E_UNAVAILABLE, "the log is away");
}

static void the_log_is_away(void **state)
{
    (void)state;
    struct world w;
    struct ph_error err = {0};
    begin(&w, 0);
    sink_has(&w, 1);
    struct ph_compare_lookup lookup = {refuse, NULL};
    assert_int_equal(ph_compare_finish(w.compare, &lookup, &w.result, &err), PH_E_UNAVAILABLE);
    assert_string_equal(err.text, "the log is away");
    ph_compare_free(w.compare);
    ph_compare_free(NULL);
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (long ok = 0;; ok++) {
        struct ph_compare *compare = NULL;
        struct ph_compare_result result;
        struct ph_uuid id = id_of(1);
        struct ph_record record = {id, {1, 1}, PH_STR("k"), 0, false};
        struct world w = {.unknown = PH_ORIGIN_NONE};
        struct ph_compare_lookup lookup = {ask, &w};
        unit_memory_fail_after(ok);
        int rc = ph_compare_new(0, &compare, NULL);
        if (rc == 0) {
            rc = ph_compare_event(compare, &id, 1, NULL);
        }
        if (rc == 0) {
            rc = ph_compare_record(compare, &record, NULL);
        }
        if (rc == 0) {
            rc = ph_compare_finish(compare, &lookup, &result, NULL);
        }
        if (rc == 0) {
            ph_compare_free(compare);
            break;
        }
        assert_int_equal(rc, PH_E_NOMEM);
        assert_true(ok < 100);
        ph_compare_free(compare); /* NULL when it was never made */
    }
    unit_memory_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(faultless, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(missing, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(duplicated, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(out_of_order, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(other_keys_and_lanes, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(ticks_count_first, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(wrong_position, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(phantom, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(one_id_twice_in_the_log, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(many, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(the_log_is_away, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(memory_runs_out, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/verify_compare", tests, NULL, NULL);
}
