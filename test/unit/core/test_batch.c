/* Batches: room, verdicts, the settled prefix, reuse under a new generation, memory failing. */
#include "unit.h"

#include "core/batch.h"

static struct ph_batch *batch_of(size_t count)
{
    struct ph_batch *batch = ph_batch_new(count, 1 << 20);
    assert_non_null(batch);
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = ph_batch_add(batch);
        assert_ptr_equal(event, &batch->events[i]);
        event->position = (int64_t)i;
    }
    return batch;
}

static void room_for_cap(void **state)
{
    (void)state;
    struct ph_batch *batch = batch_of(3);
    assert_null(ph_batch_add(batch));
    assert_int_equal(batch->count, 3);
    batch->events[0].position = 77;
    ph_batch_reset(batch);
    assert_int_equal(batch->count, 0);
    assert_int_equal(ph_batch_add(batch)->position, 0);
    ph_batch_free(batch);
    ph_batch_free(NULL);
}

static void empty_is_done(void **state)
{
    (void)state;
    struct ph_batch *batch = ph_batch_new(1, 100);
    assert_true(ph_batch_done(batch));
    assert_false(ph_batch_settle(batch));
    ph_batch_free(batch);
}

static void prefix_has_no_gap(void **state)
{
    (void)state;
    struct ph_batch *batch = batch_of(5);
    ph_batch_verdict(batch, &batch->events[2], PH_SENT, NULL);
    assert_false(ph_batch_settle(batch));
    ph_batch_verdict(batch, &batch->events[0], PH_SENT, NULL);
    assert_true(ph_batch_settle(batch));
    assert_int_equal(batch->prefix, 1);
    assert_false(ph_batch_settle(batch));
    ph_batch_verdict(batch, &batch->events[1], PH_SENT, NULL);
    assert_true(ph_batch_settle(batch));
    assert_int_equal(batch->prefix, 3);
    assert_false(ph_batch_done(batch));
    ph_batch_verdict(batch, &batch->events[4], PH_SENT, NULL);
    ph_batch_verdict(batch, &batch->events[3], PH_SENT, NULL);
    assert_true(ph_batch_done(batch));
    assert_true(ph_batch_settle(batch));
    assert_int_equal(batch->prefix, 5);
    ph_batch_free(batch);
}

static void refusals_are_found(void **state)
{
    (void)state;
    struct ph_batch *batch = batch_of(4);
    char cause[] = "too large for the topic";
    ph_batch_verdict(batch, &batch->events[3], PH_REJECT, NULL);
    ph_batch_verdict(batch, &batch->events[1], PH_RETRY, cause);
    memset(cause, 'x', sizeof cause - 1);
    assert_true((&batch->events[1])->verdict > PH_SENT);
    assert_string_equal(batch->events[1].cause, "too large for the topic");
    assert_null(batch->events[3].cause);
    assert_int_equal(batch->refused, 2);
    assert_int_equal(batch->settled, 0);
    ph_batch_verdict(batch, &batch->events[0], PH_SENT, NULL);
    assert_true(ph_batch_settle(batch));
    assert_int_equal(batch->prefix, 1);
    assert_false(ph_batch_done(batch));
    ph_batch_free(batch);
}

static void pending_says_nothing(void **state)
{
    (void)state;
    struct ph_batch *batch = batch_of(1);
    ph_batch_verdict(batch, batch->events, PH_PENDING, NULL);
    assert_int_equal(batch->refused, 0);
    ph_batch_verdict(batch, batch->events, PH_SENT, NULL);
    assert_int_equal(batch->settled, 1);
    ph_batch_free(batch);
}

static void cause_without_room(void **state)
{
    (void)state;
    struct ph_batch *batch = ph_batch_new(2, 16);
    (void)ph_batch_add(batch);
    (void)ph_batch_add(batch);
    ph_batch_verdict(batch, batch->events, PH_REJECT, "longer than the sixteen bytes of the arena");
    assert_non_null(batch->events[0].cause);
    assert_non_null(strstr(batch->events[0].cause, "no memory"));
    ph_batch_free(batch);
    batch = batch_of(1);
    char cause[5000];
    memset(cause, 'c', sizeof cause);
    cause[sizeof cause - 1] = '\0';
    ph_batch_verdict(batch, batch->events, PH_REJECT, cause);
    assert_int_equal(strlen(batch->events[0].cause), PH_ERROR_TEXT_MAX - 1);
    ph_batch_free(batch);
}

static void reuse(void **state)
{
    (void)state;
    struct ph_batch *batch = batch_of(2);
    struct ph_batch *other = batch_of(1);
    assert_true(batch->generation != other->generation);
    uint64_t generation = batch->generation;
    batch->has_end = true;
    batch->bytes = 5;
    batch->next = other;
    ph_batch_verdict(batch, batch->events, PH_SENT, NULL);
    ph_batch_verdict(batch, batch->events + 1, PH_RETRY, "x");
    (void)ph_batch_settle(batch);
    assert_non_null(ph_arena_alloc(&batch->arena, 1000));
    ph_batch_reset(batch);
    assert_true(batch->generation != generation && batch->generation != other->generation);
    assert_int_equal(batch->settled + batch->refused + batch->prefix + batch->bytes, 0);
    assert_false(batch->has_end);
    assert_null(batch->next);
    assert_int_equal(batch->arena.used, 0);
    assert_int_equal(ph_batch_add(batch)->verdict, PH_PENDING);
    ph_batch_free(batch);
    ph_batch_free(other);
}

static void memory_fails(void **state)
{
    (void)state;
    for (long ok = 0; ok < 2; ok++) {
        unit_memory_fail_after(ok);
        assert_null(ph_batch_new(10, 100));
    }
    unit_memory_fail_after(-1);
    assert_null(ph_batch_new(SIZE_MAX / 2, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_for_cap),
        cmocka_unit_test(empty_is_done),
        cmocka_unit_test(prefix_has_no_gap),
        cmocka_unit_test(refusals_are_found),
        cmocka_unit_test(pending_says_nothing),
        cmocka_unit_test(cause_without_room),
        cmocka_unit_test(reuse),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests_name("core/batch", tests, unit_memory_watch, unit_memory_restore);
}
