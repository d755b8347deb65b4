/* Positions as text both ways, order, and checkpoints that keep their texts. */
#include "unit.h"

#include "core/checkpoint.h"

static void check_text(int64_t tick, int64_t position, const char *expected)
{
    char text[PH_POSITION_TEXT_MAX];
    struct ph_position back;
    assert_int_equal(ph_position_format((struct ph_position){tick, position}, text),
                     strlen(expected));
    assert_string_equal(text, expected);
    assert_true(ph_position_parse(ph_str_from(text), &back));
    assert_int_equal(back.tick, tick);
    assert_int_equal(back.position, position);
}

static void texts(void **state)
{
    (void)state;
    check_text(0, 0, "0-0");
    check_text(12, 345, "12-345");
    check_text(INT64_MAX, INT64_MAX, "9223372036854775807-9223372036854775807");
}

static void bad_texts(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-",
                                      "--",
                                      "1",
                                      "1-",
                                      "-1",
                                      "1-2-3",
                                      "1 -2",
                                      "a-b",
                                      "1-2 ",
                                      "1--",
                                      "-1-2",
                                      "1--2",
                                      "1--0",
                                      "-1--10",
                                      "-9223372036854775808--9223372036854775808",
                                      "1-+2",
                                      "0x1-2",
                                      "1.5-2",
                                      "9223372036854775808-1",
                                      "1-9223372036854775808"};
    struct ph_position at = {7, 8};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(ph_position_parse(ph_str_from(bad[i]), &at));
    }
    assert_false(ph_position_parse((struct ph_str){NULL, 0}, &at));
    assert_int_equal(at.tick, 7);
    assert_int_equal(at.position, 8);
}

static void order(void **state)
{
    (void)state;
    struct ph_position a = {1, 9}, b = {2, 3}, c = {2, 4};
    assert_true(ph_position_cmp(a, b) < 0);
    assert_true(ph_position_cmp(b, a) > 0);
    assert_true(ph_position_cmp(b, c) < 0);
    assert_true(ph_position_cmp(c, b) > 0);
    assert_int_equal(ph_position_cmp(c, c), 0);
}

static void keeps_copies(void **state)
{
    (void)state;
    struct ph_checkpoint_kept kept = {0};
    char snapshot[] = "10:20:11,12", base[] = "5:5:";
    struct ph_checkpoint cp = {.at = {3, 4},
                               .snapshot = ph_str_from(snapshot),
                               .base_snapshot = ph_str_from(base),
                               .timeline = 2,
                               .epoch = 9};
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, NULL), 0);
    memset(snapshot, 'x', sizeof snapshot - 1);
    memset(base, 'x', sizeof base - 1);
    assert_true(kept.set);
    assert_str(kept.cp.snapshot, "10:20:11,12");
    assert_str(kept.cp.base_snapshot, "5:5:");
    assert_null(kept.cp.start_snapshot.ptr);
    assert_int_equal(kept.cp.at.position, 4);
    assert_int_equal(kept.cp.epoch, 9);
    ph_checkpoint_kept_free(&kept);
    assert_false(kept.set);
    ph_checkpoint_kept_free(&kept);
    ph_checkpoint_kept_free(NULL);
}

/* A checkpoint made from the kept one: the texts change places and overlap. */
static void keeps_from_itself(void **state)
{
    (void)state;
    struct ph_checkpoint_kept kept = {0};
    struct ph_checkpoint cp = {.snapshot = PH_STR("aaaa"),
                               .base_snapshot = PH_STR("bb"),
                               .start_snapshot = PH_STR("cccccc")};
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, NULL), 0);
    cp = kept.cp;
    cp.base_snapshot = kept.cp.snapshot;
    cp.snapshot = kept.cp.start_snapshot;
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, NULL), 0);
    assert_str(kept.cp.snapshot, "cccccc");
    assert_str(kept.cp.base_snapshot, "aaaa");
    assert_str(kept.cp.start_snapshot, "cccccc");
    ph_checkpoint_kept_free(&kept);
}

static void room_is_used_again(void **state)
{
    (void)state;
    struct ph_checkpoint_kept kept = {0};
    struct ph_checkpoint cp = {.snapshot = PH_STR("a long one, longer than the next")};
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, NULL), 0);
    unit_memory_fail_after(0);
    cp.snapshot = PH_STR("short");
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, NULL), 0);
    assert_str(kept.cp.snapshot, "short");
    struct ph_error err = {0};
    cp.snapshot = PH_STR("and this one needs more room than there ever was before");
    cp.epoch = 5;
    assert_int_equal(ph_checkpoint_keep(&kept, &cp, &err), PH_E_NOMEM);
    assert_str(kept.cp.snapshot, "short");
    assert_int_equal(kept.cp.epoch, 0);
    unit_memory_fail_after(-1);
    ph_checkpoint_kept_free(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(order),
        cmocka_unit_test(keeps_copies),
        cmocka_unit_test(keeps_from_itself),
        cmocka_unit_test(room_is_used_again),
    };
    return cmocka_run_group_tests_name("core/checkpoint", tests, unit_memory_watch,
                                       unit_memory_restore);
}
