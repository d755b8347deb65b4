/* The keeper of a lease, over a row that this test owns: claims, renewals, expiry, reports. */
#include "unit.h"

#include <pthread.h>

#include "base/log.h"
#include "fake_lease.h"

#define LEASE_MS 300

/* Waits until the condition holds; a test that waits in vain fails. */
#define AWAIT(condition)                                 \
    do {                                                 \
        int64_t until_us = ph_clock_mono_us() + 8000000; \
        while (!(condition)) {                           \
            assert_true(ph_clock_mono_us() < until_us);  \
            (void)ph_stop_wait(NULL, 1);                 \
        }                                                \
    } while (0)

static struct ph_stop pipeline_stop;

static int reset(void **state)
{
    (void)state;
    memset(&row, 0, sizeof row);
    return ph_stop_init(&pipeline_stop, NULL);
}

static int clear(void **state)
{
    (void)state;
    ph_stop_free(&pipeline_stop);
    return 0;
}

static struct ph_lease *started(int64_t lease_ms, int64_t maintain_ms)
{
    static const struct ph_source_env env = {
        .pipeline = "orders", .uri = "fake:", .stop = &pipeline_stop};
    const struct ph_lease_config config = {
        .driver = &fake, .env = &env, .lease_ms = lease_ms, .maintain_ms = maintain_ms};
    struct ph_lease *lease = NULL;
    struct ph_error err = {0};
    if (ph_lease_start(&config, &lease, &err) != 0) {
        fail_msg("%s", err.text);
    }
    row_lock();
    row.lease = lease;
    row_unlock();
    return lease;
}

static int64_t held(struct ph_lease *lease)
{
    int64_t epoch = 0;
    AWAIT((epoch = ph_lease_wait(lease, 100)) != 0);
    return epoch;
}

static void claims_and_releases(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    assert_int_equal(held(lease), 1);
    assert_int_equal(ph_lease_epoch(lease), 1);
    assert_int_equal(ph_lease_trouble(lease, NULL), 0);
    ph_lease_stop(lease);
    assert_true(row.released && row.closed && strlen(row.owner) > 3);
    assert_int_equal(row.maintains, 0);
    ph_lease_stop(NULL);
}

static void two_instances_have_two_names(void **state)
{
    (void)state;
    char first[sizeof row.owner];
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    ph_lease_stop(lease);
    memcpy(first, row.owner, sizeof first);
    lease = started(LEASE_MS, 0);
    (void)held(lease);
    ph_lease_stop(lease);
    assert_string_not_equal(first, row.owner);
}

static void stands_by(void **state)
{
    (void)state;
    row.others = true;
    struct ph_lease *lease = started(LEASE_MS, 1);
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_lease_wait(lease, 60), 0);
    assert_true(ph_clock_mono_us() - before >= 59000);
    assert_int_equal(ph_lease_epoch(lease), 0);
    assert_int_equal(ph_lease_trouble(lease, NULL), 0);
    AWAIT(row.claims >= 3); /* it asks again and again */
    assert_int_equal(row.maintains, 0);
    row.others = false;
    assert_int_equal(held(lease), 1);
    ph_lease_stop(lease);
}

static void standing_by_releases_nothing(void **state)
{
    (void)state;
    row.others = true;
    struct ph_lease *lease = started(LEASE_MS, 0);
    AWAIT(row.claims >= 1);
    ph_lease_stop(lease);
    assert_int_equal(row.releases, 0);
    assert_true(row.closed);
}

static void says_what_troubles_it(void **state)
{
    (void)state;
    row.claim_rc = PH_E_CONFIG;
    struct ph_lease *lease = started(LEASE_MS, 0);
    struct ph_error err = {0};
    int64_t before = ph_clock_mono_us();
    AWAIT(row.claims >= 1);
    assert_int_equal(ph_lease_wait(lease, 5000), 0);
    assert_true(ph_clock_mono_us() - before < 3000000); /* it does not wait for what cannot come */
    AWAIT(ph_lease_trouble(lease, &err) == PH_E_CONFIG);
    assert_int_equal(err.code, PH_E_CONFIG);
    assert_non_null(strstr(err.text, "asked for by the test"));
    row.claim_rc = 0;
    assert_int_equal(held(lease), 1);
    assert_int_equal(ph_lease_trouble(lease, &err), 0);
    ph_lease_stop(lease);
}

static void renews_in_time(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    AWAIT(ph_lease_epoch(lease) == epoch && row.renews >= 8);
    assert_int_equal(row.claims, 1);
    ph_lease_stop(lease);
}

/* While epoch is not 0 the row, by its own clock, is still ours. */
static void watch_expiry(struct ph_lease *lease)
{
    int64_t until_us = ph_clock_mono_us() + 8000000, before_us;
    do {
        before_us = ph_clock_mono_us();
        if (ph_lease_epoch(lease) == 0) {
            return;
        }
        assert_true(before_us < row.expires_us);
    } while (before_us < until_us);
    fail();
}

static void runs_out_before_the_row_does(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    row.renew_rc = PH_E_UNAVAILABLE;
    row.claim_rc = PH_E_UNAVAILABLE;
    watch_expiry(lease);
    AWAIT(ph_lease_trouble(lease, NULL) == PH_E_UNAVAILABLE);
    row.renew_rc = row.claim_rc = 0;
    assert_int_equal(held(lease), epoch + 1);
    ph_lease_stop(lease);
}

/* The keeper itself hangs in a call; who asks sees the deadline all the same. */
static void runs_out_while_the_keeper_hangs(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    row.renew_takes_ms = 3 * LEASE_MS;
    watch_expiry(lease);
    row.others = true; /* meanwhile another took it */
    row.renew_takes_ms = 0;
    AWAIT(row.claims >= 2);
    assert_int_equal(ph_lease_epoch(lease), 0);
    row.others = false;
    assert_int_equal(held(lease), epoch + 1);
    ph_lease_stop(lease);
}

/* A lease counts from when it was asked for, not from when the answer came. */
static void slow_answers_make_it_no_longer(void **state)
{
    (void)state;
    for (int renews = 0; renews < 2; renews++) {
        struct ph_lease *lease = started(900, 0);
        row.answer_takes_ms = 200;
        ph_lease_drop(lease, held(lease));
        (void)held(lease);
        int seen = row.renews;
        AWAIT(row.renews >= seen + renews);
        row.renew_rc = PH_E_UNAVAILABLE;
        row.claim_rc = PH_E_UNAVAILABLE;
        watch_expiry(lease);
        ph_lease_stop(lease);
        assert_int_equal(clear(NULL) + reset(NULL), 0);
    }
}

static void short_trouble_costs_nothing(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    for (int i = 0; i < 3; i++) {
        int renews = row.renews;
        row.renew_rc = PH_E_UNAVAILABLE;
        AWAIT(row.renews > renews); /* one fails */
        row.renew_rc = 0;
        AWAIT(row.renews > renews + 1);
        assert_int_equal(ph_lease_epoch(lease), epoch);
    }
    assert_int_equal(row.claims, 1);
    ph_lease_stop(lease);
}

static void fenced(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    row.epoch += 5; /* another came and went */
    AWAIT(ph_lease_epoch(lease) == epoch + 6);
    ph_lease_stop(lease);
}

static void dropped_by_the_pipeline(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    ph_lease_drop(lease, epoch + 1); /* not that one */
    ph_lease_drop(lease, 0);
    assert_int_equal(ph_lease_epoch(lease), epoch);
    row.others = true;
    ph_lease_drop(lease, epoch);
    assert_int_equal(ph_lease_epoch(lease), 0);
    row.others = false;
    assert_int_equal(held(lease), epoch + 1);
    ph_lease_stop(lease);
}

static void assert_last_error(const char *text)
{
    char copy[sizeof row.last_error];
    row_lock();
    memcpy(copy, row.last_error, sizeof copy);
    row_unlock();
    assert_string_equal(copy, text);
}

static void stores_a_report_once(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    ph_lease_report(lease, "the sink is down");
    AWAIT(row.reports == 1);
    assert_last_error("the sink is down");
    int renews = row.renews;
    AWAIT(row.renews >= renews + 2);
    assert_int_equal(row.reports, 1);
    char text[2 * PH_ERROR_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ph_lease_report(lease, text);
    AWAIT(row.reports == 2);
    ph_lease_stop(lease);
    assert_int_equal(strlen(row.last_error), PH_ERROR_TEXT_MAX - 1);
}

static void a_report_survives_a_failed_renewal(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    row.renew_rc = PH_E_UNAVAILABLE;
    ph_lease_report(lease, "first");
    int renews = row.renews;
    AWAIT(row.renews > renews);
    row.renew_rc = 0;
    AWAIT(row.reports == 1);
    assert_last_error("first");
    ph_lease_stop(lease);
}

/* What was said while the renewal that carried an older report failed is the newer word. */
static void the_newer_report_wins(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    row.renew_rc = PH_E_UNAVAILABLE;
    row.say_newer = true;
    ph_lease_report(lease, "older");
    AWAIT(!row.say_newer);
    row.renew_rc = 0;
    AWAIT(row.reports >= 1);
    ph_lease_stop(lease);
    assert_last_error("newer");
}

static void a_last_report_goes_with_the_release(void **state)
{
    (void)state;
    struct ph_lease *lease = started(60000, 0); /* no renewal is due for long */
    (void)held(lease);
    ph_lease_report(lease, "event 1-1 was refused");
    ph_lease_stop(lease);
    assert_int_equal(row.reports, 1);
    assert_last_error("event 1-1 was refused");
    assert_true(row.released);
}

/* The pipeline drains after its stop is wanted: until it is done the lease must hold. */
static void is_kept_while_the_pipeline_drains(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    row.renew_rc = 1; /* no fault, but the call minds its stop */
    int64_t until_us = ph_clock_mono_us() + LEASE_MS * 2000;
    ph_stop_request(&pipeline_stop);
    while (ph_clock_mono_us() < until_us) {
        assert_int_equal(ph_lease_epoch(lease), epoch);
        (void)ph_stop_wait(NULL, 1);
    }
    row.renew_rc = 0;
    ph_lease_stop(lease);
    assert_true(row.released);
}

static void maintains_while_held(void **state)
{
    (void)state;
    row.maintain_rc = PH_E_UNAVAILABLE; /* a failure is only said */
    struct ph_lease *lease = started(LEASE_MS, 1);
    int64_t epoch = held(lease);
    AWAIT(row.maintains >= 3);
    assert_int_equal(ph_lease_epoch(lease), epoch);
    ph_lease_stop(lease);
}

static void maintaining_does_not_put_renewals_off(void **state)
{
    (void)state;
    row.maintain_takes_ms = LEASE_MS * 3 / 2; /* of three */
    struct ph_lease *lease = started(LEASE_MS * 3, 1);
    int64_t epoch = held(lease);
    while (row.maintains < 4) {
        assert_int_equal(ph_lease_epoch(lease), epoch);
        (void)ph_stop_wait(NULL, 1);
    }
    ph_lease_stop(lease);
    assert_int_equal(row.claims, 1);
}

/* Clearing that would last longer than the lease is cut short, and the lease stays ours. */
static void long_maintaining_costs_no_lease(void **state)
{
    (void)state;
    row.maintain_takes_ms = LEASE_MS * 10;
    struct ph_lease *lease = started(LEASE_MS, 1);
    int64_t epoch = held(lease);
    while (row.maintains_cut < 4) {
        assert_int_equal(ph_lease_epoch(lease), epoch);
        (void)ph_stop_wait(NULL, 1);
    }
    assert_true(row.limit_ms >= LEASE_MS / 4 && row.limit_ms <= LEASE_MS * 6 / 10);
    ph_lease_stop(lease);
    assert_int_equal(row.claims, 1);
}

/* With renewals failing, what is left of the lease is for them. */
static void does_not_maintain_while_renewals_fail(void **state)
{
    (void)state;
    struct ph_lease *lease = started(LEASE_MS * 3, 1);
    (void)held(lease);
    AWAIT(row.maintains >= 1);
    row.renew_rc = row.claim_rc = PH_E_UNAVAILABLE;
    AWAIT(ph_lease_epoch(lease) == 0);
    assert_true(row.limit_ms >= LEASE_MS * 3 / 4);
    ph_lease_stop(lease);
}

static void a_failed_release_is_not_the_end(void **state)
{
    (void)state;
    row.release_rc = PH_E_UNAVAILABLE;
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    ph_lease_stop(lease);
    assert_true(row.releases == 1 && row.closed);
}

static void cannot_start(void **state)
{
    (void)state;
    static const struct ph_source_env env = {.pipeline = "orders"};
    const struct ph_lease_config config = {.driver = &fake, .env = &env, .lease_ms = LEASE_MS};
    struct ph_lease *lease = NULL;
    struct ph_error err = {0};
    row.open_rc = PH_E_CONFIG;
    assert_int_equal(ph_lease_start(&config, &lease, &err), PH_E_CONFIG);
    assert_null(lease);
    (void)unit_memory_watch(NULL);
    unit_memory_fail_after(0);
    assert_int_equal(ph_lease_start(&config, &lease, &err), PH_E_NOMEM);
    assert_int_equal(unit_memory_restore(NULL), 0);
}

/* Many ask while one drops and reports: for the sanitizers. */
struct crowd {
    struct ph_lease *lease;
    _Atomic bool over;
    _Atomic long seen;
};

static void *ask(void *arg)
{
    struct crowd *crowd = arg;
    while (!crowd->over) {
        crowd->seen += ph_lease_epoch(crowd->lease) != 0;
        (void)ph_lease_trouble(crowd->lease, NULL);
    }
    return NULL;
}

static void many_ask(void **state)
{
    (void)state;
    struct crowd crowd = {.lease = started(100, 1)};
    pthread_t threads[3];
    int64_t last = 0;
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &crowd), 0);
    }
    for (int i = 0; i < 10; i++) {
        int64_t epoch = held(crowd.lease);
        assert_true(epoch > last);
        last = epoch;
        ph_lease_report(crowd.lease, "again");
        ph_lease_drop(crowd.lease, epoch);
    }
    crowd.over = true;
    for (size_t i = 0; i < COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    ph_lease_stop(crowd.lease);
    assert_true(crowd.seen > 0);
}

static void hears_what_the_log_says(void **state)
{
    (void)state;
    row.paused = true;
    struct ph_lease *lease = started(LEASE_MS, 0);
    (void)held(lease);
    assert_true(ph_lease_paused(lease)); /* with the claim */
    assert_false(ph_lease_excess(lease));
    row.paused = false;
    row.excess = true;
    AWAIT(!ph_lease_paused(lease) && ph_lease_excess(lease)); /* with a renewal */
    ph_lease_stop(lease);
}

static void is_given_up(void **state)
{
    (void)state;
    row.excess = true;
    struct ph_lease *lease = started(LEASE_MS, 0);
    int64_t epoch = held(lease);
    AWAIT(ph_lease_excess(lease));
    ph_lease_yield(lease, epoch + 1); /* another epoch's */
    assert_int_equal(ph_lease_epoch(lease), epoch);
    ph_lease_yield(lease, epoch);
    assert_int_equal(ph_lease_epoch(lease), 0);
    assert_false(ph_lease_excess(lease));
    AWAIT(row.releases == 1);
    row.excess = false;
    assert_true(held(lease) > epoch);
    ph_lease_stop(lease);
}

/* The next owner need not wait until it runs out. */
static void is_given_up_at_a_stop(void **state)
{
    (void)state;
    struct ph_lease *lease = started(60000, 0);
    ph_lease_yield(lease, held(lease));
    ph_lease_stop(lease);
    assert_int_equal(row.releases, 1);
    assert_true(row.released);
}

static void quiet(const char *line, void *arg)
{
    (void)line;
    (void)arg;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(claims_and_releases),
        TEST(two_instances_have_two_names),
        TEST(stands_by),
        TEST(standing_by_releases_nothing),
        TEST(says_what_troubles_it),
        TEST(renews_in_time),
        TEST(runs_out_before_the_row_does),
        TEST(runs_out_while_the_keeper_hangs),
        TEST(slow_answers_make_it_no_longer),
        TEST(short_trouble_costs_nothing),
        TEST(fenced),
        TEST(dropped_by_the_pipeline),
        TEST(stores_a_report_once),
        TEST(a_report_survives_a_failed_renewal),
        TEST(the_newer_report_wins),
        TEST(a_last_report_goes_with_the_release),
        TEST(is_kept_while_the_pipeline_drains),
        TEST(maintains_while_held),
        TEST(maintaining_does_not_put_renewals_off),
        TEST(long_maintaining_costs_no_lease),
        TEST(does_not_maintain_while_renewals_fail),
        TEST(a_failed_release_is_not_the_end),
        TEST(cannot_start),
        TEST(hears_what_the_log_says),
        TEST(is_given_up),
        TEST(is_given_up_at_a_stop),
        TEST(many_ask),
    };
    ph_log_to(quiet, NULL);
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
