/* Keys that wait, and gaps, against a plain list of them. */
#include "unit.h"

#include <stdlib.h>

#include "core/hold.h"

#define KEYS 400

static struct ph_str key_of(int n, char text[24])
{
    (void)snprintf(text, 24, "key-%d", n);
    return ph_str_from(text);
}

static void counts_rows(void **state)
{
    (void)state;
    struct ph_hold hold = {0};
    char text[24];
    unsigned rows[KEYS] = {0};
    uint64_t gaps[KEYS] = {0}; /* a bit a position */
    unsigned seed = 1;
    assert_true(ph_hold_empty(&hold));
    for (int step = 0; step < 40000; step++) {
        int n = (int)((seed = seed * 1103515245 + 12345) >> 8) % KEYS;
        struct ph_str key = key_of(n, text);
        struct ph_gap gap = {.at = {1, (int64_t)(seed >> 12) % 64}};
        uint64_t up_to = gaps[n] & (UINT64_MAX >> (63 - gap.at.position));
        switch (seed >> 4 & 3) {
        case 0:
            assert_int_equal(ph_hold_add(&hold, key, 1 + (unsigned)step % 3, NULL), 0);
            rows[n] += 1 + (unsigned)step % 3;
            break;
        case 1:
            assert_int_equal(ph_hold_put_gap(&hold, key, &gap, NULL), 0);
            gaps[n] |= UINT64_C(1) << gap.at.position;
            break;
        case 2:
            assert_int_equal(ph_hold_take_gap(&hold, key, gap.at, &gap), up_to != 0);
            if (up_to != 0) {
                assert_int_equal(gap.at.position, 63 - __builtin_clzll(up_to));
                gaps[n] &= ~(UINT64_C(1) << gap.at.position);
            }
            break;
        default:
            ph_hold_take(&hold, key);
            rows[n] -= rows[n] > 0;
            break;
        }
        n = step % KEYS;
        assert_int_equal(ph_hold_has(&hold, key_of(n, text)), rows[n] > 0);
    }
    size_t used = 0, open = 0;
    for (int n = 0; n < KEYS; n++) {
        used += rows[n] > 0 || gaps[n] != 0;
        open += (size_t)__builtin_popcountll(gaps[n]);
    }
    for (uint32_t place = hold.gap_free; place; place = hold.gaps[place - 1].next) {
        open++;
    }
    assert_int_equal(hold.used, used);
    assert_int_equal(hold.gap_count, open);
    ph_hold_clear(&hold);
    assert_true(ph_hold_empty(&hold) && !ph_hold_has(&hold, PH_STR("key-1")));
    ph_hold_free(&hold);
}

static void no_key_waits_for_nobody(void **state)
{
    (void)state;
    struct ph_hold hold = {0};
    struct ph_str none = {NULL, 0};
    struct ph_gap gap = {.at = {1, 1}};
    assert_int_equal(ph_hold_add(&hold, none, 3, NULL), 0);
    assert_int_equal(ph_hold_put_gap(&hold, none, &gap, NULL), 0);
    assert_false(ph_hold_has(&hold, none));
    assert_false(ph_hold_take_gap(&hold, none, gap.at, &gap));
    assert_true(ph_hold_empty(&hold));
    /* an empty key is one */
    assert_int_equal(ph_hold_add(&hold, PH_STR(""), 1, NULL), 0);
    assert_true(ph_hold_has(&hold, PH_STR("")));
    ph_hold_free(&hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_rows),
        cmocka_unit_test(no_key_waits_for_nobody),
    };
    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
