/* Closed, open, half-open. */
#include "unit.h"

#include "base/sys.h"
#include "core/breaker.h"

static int64_t now_us = 1000000;

static int64_t fake_us(void)
{
    return now_us;
}

static void goes_round(void **state)
{
    (void)state;
    struct ph_breaker breaker = {.backoff = {.initial_ms = 100, .max_ms = 400}};
    assert_true(ph_breaker_allows(&breaker));
    assert_false(ph_breaker_worked(&breaker));
    assert_true(ph_breaker_failed(&breaker));
    assert_false(ph_breaker_failed(&breaker));
    assert_false(ph_breaker_allows(&breaker));
    assert_int_equal(breaker.state, PH_BREAKER_OPEN);
    now_us += 400000;
    assert_true(ph_breaker_allows(&breaker));
    assert_int_equal(breaker.state, PH_BREAKER_HALF_OPEN);
    assert_true(ph_breaker_allows(&breaker));
    assert_false(ph_breaker_failed(&breaker));
    assert_int_equal(breaker.state, PH_BREAKER_OPEN);
    ph_breaker_hint(&breaker);
    assert_true(ph_breaker_allows(&breaker));
    assert_true(ph_breaker_worked(&breaker));
    assert_int_equal(breaker.state, PH_BREAKER_CLOSED);
    assert_int_equal(breaker.backoff.attempt, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_round)};
    ph_sys.mono_us = fake_us;
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
