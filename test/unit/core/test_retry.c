/* Backoff: its bounds at every attempt, its growth, its spread, and no overflow ever. */
#include "unit.h"

#include "core/retry.h"

static uint64_t fixed;

static uint64_t fixed_random(void)
{
    return fixed;
}

static int setup(void **state)
{
    (void)state;
    unit_memory.real = ph_sys;
    return 0;
}

static int restore(void **state)
{
    (void)state;
    ph_sys = unit_memory.real;
    return 0;
}

static void doubles_up_to_max(void **state)
{
    (void)state;
    static const int64_t ceilings[] = {100, 200, 400, 800, 1000, 1000, 1000};
    struct ph_backoff backoff = {.initial_ms = 100, .max_ms = 1000};
    ph_sys.random_u64 = fixed_random;
    for (size_t i = 0; i < COUNT(ceilings); i++) {
        fixed = UINT64_MAX;
        struct ph_backoff copy = backoff;
        assert_int_equal(ph_backoff_next(&copy), ceilings[i]);
        fixed = 0;
        assert_in_range(ph_backoff_next(&backoff), ceilings[i] / 10, ceilings[i] / 10 + 1);
    }
    ph_backoff_reset(&backoff);
    fixed = UINT64_MAX;
    assert_int_equal(ph_backoff_next(&backoff), 100);
}

static void is_spread(void **state)
{
    (void)state;
    struct ph_backoff backoff = {.initial_ms = 1000, .max_ms = 1000};
    int64_t sum = 0, least = INT64_MAX, greatest = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t wait_ms = ph_backoff_next(&backoff);
        sum += wait_ms;
        least = wait_ms < least ? wait_ms : least;
        greatest = wait_ms > greatest ? wait_ms : greatest;
    }
    assert_in_range(least, 100, 120);
    assert_in_range(greatest, 980, 1000);
    assert_in_range(sum / 10000, 530, 570);
}

static void any_numbers(void **state)
{
    (void)state;
    static const struct ph_backoff cases[] = {
        {0, 1, 0, 0},     {1, 1, 1, 5}, {-5, 10, 3, 0}, {1, INT64_MAX, 10, UINT32_MAX},
        {500, 100, 0, 3}, {3, 7, 1, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_backoff backoff = cases[i];
        for (int n = 0; n < 100; n++) {
            int64_t wait_ms = ph_backoff_next(&backoff);
            assert_true(wait_ms >= 1 && wait_ms <= backoff.max_ms);
        }
        assert_true(backoff.attempt >= cases[i].attempt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(doubles_up_to_max, setup, restore),
        cmocka_unit_test(is_spread),
        cmocka_unit_test(any_numbers),
    };
    return cmocka_run_group_tests_name("core/retry", tests, NULL, NULL);
}
