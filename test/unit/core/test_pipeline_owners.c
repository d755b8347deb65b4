/* Several instances of one pipeline: one works, the others stand by; who lost the lease sends and
 * stores nothing more. */
#include "unit.h"

#include "pipeline_rig.h"

#define LEASE_MS 500

static struct instance *owner_new(struct rig *rig)
{
    struct instance *inst = rig_instance(rig);
    inst->config.options.lease_ms = LEASE_MS;
    return inst;
}

static struct instance *owner_started(struct rig *rig)
{
    struct instance *inst = owner_new(rig);
    rig_start(inst);
    return inst;
}

static int64_t since_ms(int64_t us)
{
    return (ph_clock_mono_us() - us) / 1000;
}

static int64_t sent_by(const struct instance *inst)
{
    return ph_pipeline_metrics(inst->pipeline)->events_sent;
}

static void the_second_stands_by(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_started(rig);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) >= 20);
    struct instance *second = owner_started(rig);
    AWAIT(rig_said("standing by") == 1);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) == 40);
    (void)ph_stop_wait(NULL, 2 * LEASE_MS); /* longer than a lease lasts */
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) == 60);
    assert_int_equal(second->submits + second->seeks, 0);

    int64_t before = ph_clock_mono_us(); /* a clean stop hands over at once */
    assert_int_equal(rig_stop(first), 0);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(second) == 20);
    assert_true(since_ms(before) < LEASE_MS);
    assert_int_equal(rig_said("standing by"), 1);
    assert_int_equal(second->opens, 2); /* what it found out while standing by is looked at anew */
    assert_int_equal(rig_stop(second), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(first);
    rig_instance_free(second);
    rig_free(rig);
}

static void a_stop_while_standing_by(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_started(rig);
    rig_append(rig, 5, 0);
    AWAIT(sent_by(first) == 5);
    struct instance *second = owner_started(rig);
    AWAIT(rig_said("standing by") == 1);
    int64_t epoch = ph_memory_log_epoch(rig->log, "orders", 0);
    int64_t before = ph_clock_mono_us();
    assert_int_equal(rig_stop(second), 0);
    assert_true(since_ms(before) < 2000);
    rig_append(rig, 5, 0);
    AWAIT(sent_by(first) == 10);
    assert_int_equal(ph_memory_log_epoch(rig->log, "orders", 0), epoch);
    assert_int_equal(rig_stop(first), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(first);
    rig_instance_free(second);
    rig_free(rig);
}

/* Nobody else is there to fence it: the deadline alone makes it fall silent. */
static void silent_behind_the_deadline(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = owner_new(rig);
    inst->config.options.lease_ms = 2 * LEASE_MS; /* with a margin for a loaded machine */
    inst->config.options.drain_timeout_ms = 100;
    inst->strict = true;
    rig_start(inst);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(inst) == 20);
    inst->keeper_dead = true;
    int64_t before = ph_clock_mono_us();
    while (since_ms(before) < 3 * LEASE_MS) {
        rig_append(rig, 1, 0);
        (void)ph_stop_wait(NULL, 1);
    }
    AWAIT(rig_said("the lease of pipeline orders was lost") == 1);
    int submits = inst->submits;
    assert_true((size_t)sent_by(inst) < rig->count);
    inst->keeper_dead = false; /* it comes back as its own successor */
    AWAIT((size_t)sent_by(inst) == rig->count);
    assert_true(inst->submits > submits);
    assert_int_equal(rig_stop(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(inst);
    rig_free(rig);
}

/* Who was fenced does not wait for what is in flight: the new owner sends it. */
static void who_is_fenced_lets_go(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_new(rig);
    first->config.options.drain_timeout_ms = 60000;
    first->may_repeat = true;
    rig_start(first);
    ph_memory_store_delay(rig->store, 1000000);
    rig_append(rig, 20, 0);
    AWAIT(first->submitted >= 20);
    first->keeper_dead = true;
    int64_t before = ph_clock_mono_us();
    AWAIT(first->abandons >= 1);
    assert_true(since_ms(before) < 4 * LEASE_MS);
    first->keeper_dead = false;
    ph_memory_store_delay(rig->store, 0);
    AWAIT(sent_by(first) >= 20);
    assert_int_equal(rig_stop(first), 0);
    assert_true(rig_finished(rig) >= 20);
    rig_instance_free(first);
    rig_free(rig);
}

/* The first's keeper dies: it must fall silent before the second begins. */
static void a_dead_keeper_hands_over(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_started(rig);
    ph_memory_store_delay(rig->store, 2);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) >= 20);
    struct instance *second = owner_started(rig);
    AWAIT(rig_said("standing by") == 1);
    first->keeper_dead = true;
    int64_t before = ph_clock_mono_us();
    while (second->submits == 0) {
        rig_append(rig, 1, 0);
        (void)ph_stop_wait(NULL, 1);
        assert_true(since_ms(before) < 8000);
    }
    assert_true(since_ms(before) < 3 * LEASE_MS); /* two, and what a loaded machine takes */
    int64_t began_us = second->submit_us;
    assert_true(first->submit_us <= began_us);
    int submits = first->submits;
    rig_append(rig, 50, 0);
    AWAIT(ph_memory_store_count(rig->store) >= rig->count);

    first->keeper_dead = false; /* it is back and finds another owner */
    AWAIT(rig_said("standing by") >= 2);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(second) > 0 && ph_memory_store_count(rig->store) >= rig->count);
    assert_int_equal(first->submits, submits);
    assert_true(first->epoch < second->epoch);
    assert_int_equal(rig_stop(second), 0);
    rig_append(rig, 20, 0);
    AWAIT(first->submits > submits); /* and takes over in its turn */
    assert_int_equal(rig_stop(first), 0);
    size_t repeated = rig_finished(rig);
    assert_true(repeated <= (size_t)(4 * first->config.options.batch_events));
    rig_instance_free(first);
    rig_instance_free(second);
    rig_free(rig);
}

/* The log's clock says that the lease is over while its owner believes in it: what it sends in that
 * time it sends, but it stores nothing. */
static void a_fenced_instance_stores_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_started(rig);
    first->may_repeat = true; /* it does not know yet */
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) >= 20);
    struct instance *second = owner_new(rig);
    second->may_repeat = true;
    rig_start(second);
    AWAIT(rig_said("standing by") == 1);
    ph_memory_log_expire(rig->log, "orders", 0);
    AWAIT(second->seeks == 1);
    int64_t epoch = second->epoch;
    rig_append(rig, 100, 0);
    AWAIT(rig_said("fenced") == 1);
    int submits = first->submits;
    rig_append(rig, 50, 0);
    AWAIT(ph_memory_store_count(rig->store) >= rig->count && rig_said("standing by") == 2);
    assert_int_equal(first->submits, submits);
    AWAIT(rig->log->rows[0].checkpoint.set);
    assert_int_equal(rig_stop(second), 0);
    ph__memory_lock(rig->log);
    assert_int_equal(rig->log->rows[0].checkpoint.cp.epoch, epoch);
    ph__memory_unlock(rig->log);
    assert_int_equal(rig_stop(first), 0);
    (void)rig_finished(rig);
    rig_instance_free(first);
    rig_instance_free(second);
    rig_free(rig);
}

/* A sink that knows of a newer owner says so. */
static void fenced_by_the_sink(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = owner_new(rig);
    inst->config.once = true;
    rig_append(rig, 100, 20);
    ph_memory_store_down(rig->store, 5, 1, PH_E_FENCED);
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_int_equal(rig_said("fenced"), 1);
    assert_true(ph_memory_log_epoch(rig->log, "orders", 0) >= 2);
    size_t repeated = rig_finished(rig);
    assert_true(repeated <= (size_t)(inst->config.options.window * 10));
    rig_instance_free(inst);
    rig_free(rig);
}

static void fenced_at_the_load(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = owner_new(rig);
    inst->config.once = true;
    rig_append(rig, 30, 20);
    ph_memory_log_fail(rig->log, PH_MEMORY_LOAD, 0, 1, PH_E_FENCED);
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_int_equal(rig_finished(rig), 0);
    rig_instance_free(inst);
    rig_free(rig);
}

/* The first may not store its end when it stops after its lease has run out. */
static void a_stop_behind_the_lease(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_new(rig);
    struct ph_position stored, later;
    first->config.options.drain_timeout_ms = 5 * LEASE_MS;
    rig_start(first);
    rig_append(rig, 20, 0);
    AWAIT(sent_by(first) == 20 && rig_stored(rig, &stored) && stored.position == 20);
    ph_memory_store_delay(rig->store, 1000000);
    rig_append(rig, 20, 0);
    AWAIT(first->submitted >= 40);
    first->keeper_dead = true;
    ph_stop_request(&first->stop); /* drains into the void until long after the lease */
    struct instance *second = owner_new(rig);
    second->config.options.drain_timeout_ms = 0;
    rig_start(second);
    AWAIT(second->submits > 0); /* before the first gave up */
    assert_false(first->over);
    ph_memory_store_delay(rig->store, 0);
    assert_int_equal(rig_stop(second), 0);
    assert_true(rig_stored(rig, &stored));
    AWAIT(first->over);
    assert_int_equal(rig_join(first), 0);
    assert_true(rig_stored(rig, &later));
    assert_int_equal(ph_position_cmp(stored, later), 0);
    rig_assert_kept(rig);
    rig_instance_free(first);
    rig_instance_free(second);
    assert_int_equal(rig_once(rig, NULL), 0);
    (void)rig_finished(rig);
    rig_free(rig);
}

/* A long drain keeps its lease to the end: nobody takes over what is still being confirmed. */
static void a_drain_keeps_the_lease(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *first = owner_new(rig);
    first->config.options.drain_timeout_ms = 4 * LEASE_MS;
    rig_start(first);
    ph_memory_store_delay(rig->store, 1000000);
    rig_append(rig, 20, 0);
    AWAIT(first->submitted >= 20);
    ph_stop_request(&first->stop);
    struct instance *second = owner_new(rig);
    second->config.options.drain_timeout_ms = 0;
    rig_start(second);
    (void)ph_stop_wait(NULL, 3 * LEASE_MS);
    assert_false(first->over);
    assert_int_equal(second->seeks, 0);
    AWAIT(first->over); /* at the end of its drain */
    assert_int_equal(rig_join(first), 0);
    AWAIT(second->submitted >= 20);
    ph_stop_request(&second->stop);
    assert_int_equal(rig_join(second), 0);
    rig_assert_kept(rig);
    rig_instance_free(first);
    rig_instance_free(second);
    rig_free(rig);
}

/* Three instances; again and again one of them stops, dies or is fenced. */
static void anyone_may_go(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *all[3];
    for (size_t i = 0; i < COUNT(all); i++) {
        all[i] = owner_new(rig);
        all[i]->may_repeat = true;
        rig_start(all[i]);
    }
    int64_t until_us = ph_clock_mono_us() + 4000000;
    for (unsigned round = 0; ph_clock_mono_us() < until_us; round++) {
        struct instance **one = &all[round * 7 % COUNT(all)];
        for (int i = 0; i < 20; i++) {
            rig_append(rig, 1 + round % 5, 0);
            (void)ph_stop_wait(NULL, 2);
        }
        if (round % 3 == 0) {
            assert_int_equal(rig_stop(*one), 0);
            rig_instance_free(*one);
            *one = owner_new(rig);
            (*one)->may_repeat = true;
            rig_start(*one);
        } else if (round % 3 == 1) {
            (*one)->keeper_dead = !(*one)->keeper_dead;
        } else {
            ph_memory_log_expire(rig->log, "orders", 0);
        }
        rig_assert_kept(rig);
    }
    for (size_t i = 0; i < COUNT(all); i++) {
        all[i]->keeper_dead = false;
        assert_int_equal(rig_stop(all[i]), 0);
        rig_instance_free(all[i]);
    }
    assert_int_equal(rig_once(rig, NULL), 0);
    (void)rig_finished(rig);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_stands_by),
        cmocka_unit_test(a_stop_while_standing_by),
        cmocka_unit_test(silent_behind_the_deadline),
        cmocka_unit_test(who_is_fenced_lets_go),
        cmocka_unit_test(a_dead_keeper_hands_over),
        cmocka_unit_test(a_fenced_instance_stores_nothing),
        cmocka_unit_test(fenced_by_the_sink),
        cmocka_unit_test(fenced_at_the_load),
        cmocka_unit_test(a_stop_behind_the_lease),
        cmocka_unit_test(a_drain_keeps_the_lease),
        cmocka_unit_test(anyone_may_go),
    };
    ph_log_to(rig_take_line, NULL);
    return cmocka_run_group_tests_name("pipeline_owners", tests, NULL, NULL);
}
