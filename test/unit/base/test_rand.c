/* Random numbers: bounds, spread, and a table that always answers the same. */
#include "unit.h"

#include "base/rand.h"

static uint64_t fixed_value;
static int draws;

static uint64_t fixed(void)
{
    draws++;
    return fixed_value;
}

static int restore(void **state)
{
    (void)state;
    ph_sys = unit_memory.real;
    return 0;
}

static int save(void **state)
{
    (void)state;
    unit_memory.real = ph_sys;
    draws = 0;
    return 0;
}

static void small_bounds(void **state)
{
    (void)state;
    assert_int_equal(ph_rand_below(0), 0);
    assert_int_equal(ph_rand_below(1), 0);
    unsigned seen[7] = {0};
    for (int i = 0; i < 7000; i++) {
        uint64_t value = ph_rand_below(7);
        assert_true(value < 7);
        seen[value]++;
    }
    for (size_t i = 0; i < COUNT(seen); i++) {
        assert_in_range(seen[i], 800, 1200); /* 1000 and six standard deviations */
    }
}

static void bounds_hold_for_any_draw(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63};
    static const uint64_t bounds[] = {2, 3, 1000, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 1};
    ph_sys.random_u64 = fixed;
    for (size_t v = 0; v < COUNT(values); v++) {
        for (size_t b = 0; b < COUNT(bounds); b++) {
            fixed_value = values[v];
            draws = 0;
            assert_true(ph_rand_below(bounds[b]) < bounds[b]);
            assert_in_range(draws, 1, 64);
        }
    }
}

static void goes_through_the_table(void **state)
{
    (void)state;
    ph_sys.random_u64 = fixed;
    fixed_value = 4711;
    assert_int_equal(ph_rand_u64(), 4711);
    assert_int_equal(draws, 1);
    assert_int_equal(ph_rand_below(0), 0);
    assert_int_equal(draws, 1);
}

static void differs(void **state)
{
    (void)state;
    uint64_t ones = 0, zeros = 0;
    for (int i = 0; i < 64; i++) {
        uint64_t value = ph_rand_u64();
        assert_int_not_equal(value, ph_rand_u64());
        ones |= value;
        zeros |= ~value;
    }
    assert_int_equal(ones, UINT64_MAX);
    assert_int_equal(zeros, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_bounds),
        cmocka_unit_test_setup_teardown(bounds_hold_for_any_draw, save, restore),
        cmocka_unit_test_setup_teardown(goes_through_the_table, save, restore),
        cmocka_unit_test(differs),
    };
    return cmocka_run_group_tests_name("base/rand", tests, NULL, NULL);
}
