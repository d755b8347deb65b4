/* Events that leave the flow and come back: what is delivered, in which order of its key, and what
 * a person sees. */
#include "unit.h"

#include "pipeline_rig.h"

#define KEYS 7 /* of the rig */

struct judge {
    int64_t bad[8]; /* positions, until mended */
    enum ph_verdict verdict;
    _Atomic bool mended;
    _Atomic int asked; /* about bad ones */
};

static enum ph_verdict judge(void *arg, const struct ph_event *event, const char **cause)
{
    struct judge *j = arg;
    *cause = "it is bad";
    for (size_t i = 0; i < COUNT(j->bad) && !j->mended; i++) {
        if (j->bad[i] == event->position) {
            j->asked++;
            return j->verdict;
        }
    }
    return PH_SENT;
}

static struct instance *parking_instance(struct rig *rig, struct judge *j)
{
    struct instance *inst = rig_instance(rig);
    inst->parks = true;
    inst->may_repeat = true;
    inst->config.retry = (struct ph_retry_options){
        .initial_ms = 1, .max_ms = 5, .multiplier = 2, .attempts = 1000000};
    ph_memory_store_judge(rig->store, j ? judge : NULL, j);
    return inst;
}

/* Whether the store has an event, at which index. */
static bool delivered_at(struct rig *rig, int64_t position, size_t *index)
{
    struct ph_memory_record record;
    *index = 0;
    for (size_t i = 0; ph_memory_store_record(rig->store, i, &record); i++) {
        if (record.at.position == position) {
            *index = i;
            return true;
        }
    }
    return false;
}

static const struct ph_header *header_of(struct rig *rig, int64_t position, const char *name)
{
    static struct ph_memory_record record;
    size_t index;
    assert_true(delivered_at(rig, position, &index));
    assert_true(ph_memory_store_record(rig->store, index, &record));
    for (unsigned i = 0; i < record.header_count; i++) {
        if (ph_str_is(record.headers[i].name, name)) {
            return &record.headers[i];
        }
    }
    return NULL;
}

/* The first deliveries of each key are in order; returns how many events were delivered. */
static size_t in_order(struct rig *rig)
{
    size_t count = 0;
    for (int64_t key = 1; key <= KEYS; key++) {
        size_t last = 0, index = 0;
        bool any = false;
        for (int64_t at = key; at <= (int64_t)rig->count; at += KEYS) {
            if (delivered_at(rig, at, &index)) {
                assert_true(!any || index > last);
                last = index;
                any = true;
                count++;
            }
        }
    }
    return count;
}

static size_t rows(struct rig *rig, enum ph_park_state state)
{
    struct ph_memory_parked_row row;
    size_t count = 0;
    for (size_t i = 0; ph_memory_log_parked(rig->log, "orders", 0, i, &row); i++) {
        count += row.state == state && !row.discarded;
    }
    return count;
}

static bool settled(struct rig *rig)
{
    struct ph_position stored;
    return rig_stored(rig, &stored) && stored.position == (int64_t)rig->count;
}

static void finish(struct rig *rig, struct instance *inst)
{
    assert_int_equal(rig_stop(inst), 0);
    rig_assert_kept(rig);
    rig_instance_free(inst);
    rig_free(rig);
}

static void an_event_is_tried_again(void **state)
{
    (void)state;
    for (int64_t bad = 1; bad <= 30; bad += 3) {
        struct rig *rig = rig_new();
        struct judge j = {.bad = {bad}, .verdict = PH_RETRY};
        struct instance *inst = parking_instance(rig, &j);
        rig_append(rig, 30, 0);
        rig_start(inst);
        AWAIT(j.asked >= 4);
        AWAIT(settled(rig));
        size_t behind = (30 - (size_t)bad) / KEYS + 1; /* the event and those of its key */
        AWAIT(rows(rig, PH_PARK_PARKED) == behind);
        assert_int_equal(in_order(rig), 30 - behind);
        j.mended = true;
        AWAIT(ph_memory_store_count(rig->store) == 30);
        assert_int_equal(in_order(rig), 30);
        AWAIT(rows(rig, PH_PARK_PARKED) == 0);
        /* the key is free again */
        rig_append(rig, KEYS, 0);
        AWAIT(ph_memory_store_count(rig->store) == 30 + KEYS);
        assert_int_equal(in_order(rig), 30 + KEYS);
        assert_int_equal(rows(rig, PH_PARK_PARKED), 0);
        finish(rig, inst);
    }
}

static void a_dead_event_holds_its_key(void **state)
{
    (void)state;
    for (int redriven = 0; redriven < 2; redriven++) {
        struct rig *rig = rig_new();
        struct judge j = {.bad = {9, 11}, .verdict = PH_REJECT};
        struct instance *inst = parking_instance(rig, &j);
        rig_append(rig, 30, 0);
        rig_start(inst);
        AWAIT(settled(rig) && rows(rig, PH_PARK_DEAD) == 2);
        AWAIT(rows(rig, PH_PARK_PARKED) == 5); /* 16, 23, 30 and 18, 25 */
        assert_int_equal(ph_memory_store_count(rig->store), 23);
        j.mended = true;
        if (redriven) {
            assert_true(ph_memory_log_redrive(rig->log, "orders", 0, 9));
        } else {
            assert_true(ph_memory_log_discard(rig->log, "orders", 0, 9));
        }
        AWAIT(ph_memory_store_count(rig->store) == 26 + (size_t)redriven);
        assert_int_equal(in_order(rig), 26 + redriven);
        AWAIT(rows(rig, PH_PARK_PARKED) == 2 && rows(rig, PH_PARK_DEAD) == 1);
        assert_int_equal(j.asked, 2);
        finish(rig, inst);
    }
}

static void attempts_end(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {3}, .verdict = PH_RETRY};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.retry.attempts = 4;
    rig_append(rig, 20, 0);
    rig_start(inst);
    AWAIT(rows(rig, PH_PARK_DEAD) == 1);
    assert_int_equal(j.asked, 4);
    struct ph_memory_parked_row row;
    assert_true(ph_memory_log_parked(rig->log, "orders", 0, 0, &row));
    assert_int_equal(row.attempts, 4);
    assert_string_equal(row.key, "order-2");
    finish(rig, inst);
}

static void a_key_goes_on_with_skip(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {8}, .verdict = PH_REJECT};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.options.on_dead = PH_ON_DEAD_SKIP;
    rig_append(rig, 30, 0);
    rig_start(inst);
    AWAIT(ph_memory_store_count(rig->store) == 29);
    char id[PH_UUID_TEXT_LEN + 1];
    ph_uuid_format(&rig->log->events[7].event.id, id);
    const struct ph_header *gap = header_of(rig, 15, "posthorn-gap");
    assert_non_null(gap);
    assert_str(gap->value, id);
    assert_null(header_of(rig, 22, "posthorn-gap"));
    assert_null(header_of(rig, 14, "posthorn-gap"));
    assert_int_equal(rows(rig, PH_PARK_DEAD), 1);
    j.mended = true;
    assert_true(ph_memory_log_redrive(rig->log, "orders", 0, 8));
    AWAIT(ph_memory_store_count(rig->store) == 30);
    assert_non_null(header_of(rig, 8, "posthorn-redriven"));
    AWAIT(rows(rig, PH_PARK_DEAD) + rows(rig, PH_PARK_PARKED) == 0);
    finish(rig, inst);
}

/* Nobody was told before a restart: the first event of the key behind it tells. */
static void a_gap_outlives_a_restart(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {20}, .verdict = PH_REJECT};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.options.on_dead = PH_ON_DEAD_SKIP;
    rig_append(rig, 20, 0);
    rig_start(inst);
    AWAIT(settled(rig) && rows(rig, PH_PARK_DEAD) == 1);
    assert_int_equal(rig_stop(inst), 0);
    rig_instance_free(inst);
    inst = parking_instance(rig, &j);
    rig_append(rig, 20, 0);
    rig_start(inst);
    AWAIT(ph_memory_store_count(rig->store) == 39);
    assert_non_null(header_of(rig, 27, "posthorn-gap"));
    assert_null(header_of(rig, 34, "posthorn-gap"));
    finish(rig, inst);
}

static void a_dead_event_can_stop_it(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {9}, .verdict = PH_REJECT};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.options.on_dead = PH_ON_DEAD_STOP;
    rig_append(rig, 30, 0);
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_REFUSED);
    assert_non_null(strstr(inst->err.text, "it is bad"));
    assert_int_equal(rows(rig, PH_PARK_DEAD), 1);
    rig_instance_free(inst);
    inst = parking_instance(rig, &j);
    inst->config.options.on_dead = PH_ON_DEAD_STOP;
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_REFUSED);
    assert_non_null(strstr(inst->err.text, "1 dead"));
    rig_instance_free(inst);
    assert_true(ph_memory_log_redrive(rig->log, "orders", 0, 9));
    j.mended = true;
    inst = parking_instance(rig, &j);
    inst->config.options.on_dead = PH_ON_DEAD_STOP;
    rig_start(inst);
    AWAIT(ph_memory_store_count(rig->store) == 30);
    assert_int_equal(in_order(rig), 30);
    finish(rig, inst);
}

static void park_max_is_a_sink_that_is_down(void **state)
{
    (void)state;
    for (int64_t max = 1; max <= 4; max++) {
        struct rig *rig = rig_new();
        struct judge j = {.bad = {2, 3, 4, 5}, .verdict = PH_REJECT};
        struct instance *inst = parking_instance(rig, &j);
        inst->config.options.park_max = max;
        rig_append(rig, 60, 0);
        rig_start(inst);
        AWAIT(rig_said("park_max is reached") >= 1 && rows(rig, PH_PARK_DEAD) >= 1);
        assert_false(settled(rig));
        j.mended = true;
        for (int64_t bad = 2; bad <= 5; bad++) {
            (void)ph_memory_log_redrive(rig->log, "orders", 0, bad);
        }
        AWAIT(ph_memory_store_count(rig->store) >= 60 && settled(rig));
        assert_int_equal(in_order(rig), 60);
        finish(rig, inst);
    }
}

/* The route cannot fill a topic; the source finds no sense in a row: like a refusal of the sink. */
static void what_cannot_be_routed_is_dead(void **state)
{
    (void)state;
    for (size_t bad = 1; bad <= 21; bad += 4) {
        struct rig *rig = rig_new();
        struct instance *inst = parking_instance(rig, NULL);
        for (size_t i = 1; i <= 30; i++) {
            (void)rig_append_with(rig, i == bad ? "{}" : "{\"tenant\":\"t\"}");
        }
        assert_int_equal(ph_option_set(ph_route_options, &inst->route, "route", PH_STR("topic"),
                                       PH_STR("out.{header:tenant}"), NULL),
                         0);
        inst->flaw_at = (int64_t)bad + 1;
        rig_start(inst);
        AWAIT(settled(rig) && rows(rig, PH_PARK_DEAD) == 2);
        size_t behind = (30 - bad) / KEYS + (30 - bad - 1) / KEYS;
        AWAIT(rows(rig, PH_PARK_PARKED) == behind);
        assert_int_equal(in_order(rig), 28 - behind);
        finish(rig, inst);
    }
}

static void a_scheduled_event_holds_nobody(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = parking_instance(rig, NULL);
    rig_append(rig, 7, 0);
    int64_t now = ph_clock_wall_us();
    struct ph_event event = {.aggregate_type = PH_STR("order"),
                             .aggregate_id = PH_STR("order-0"),
                             .event_type = PH_STR("reminded"),
                             .created_us = now,
                             .deliver_after_us = now + 300000};
    assert_int_equal(ph_memory_log_append(rig->log, &event), 8);
    rig->count++;
    rig_append(rig, 7, 0);
    rig_start(inst);
    AWAIT(settled(rig) && ph_memory_store_count(rig->store) == 14);
    assert_int_equal(rows(rig, PH_PARK_SCHEDULED), 1);
    assert_true(ph_clock_wall_us() < event.deliver_after_us);
    AWAIT(ph_memory_store_count(rig->store) == 15);
    assert_true(ph_clock_wall_us() >= event.deliver_after_us);
    assert_true(ph_clock_wall_us() < event.deliver_after_us + 1000000);
    AWAIT(rows(rig, PH_PARK_SCHEDULED) == 0);
    finish(rig, inst);
}

/* Its time comes while its key waits: it takes its place at the end. */
static void a_scheduled_event_queues_behind(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {2}, .verdict = PH_RETRY};
    struct instance *inst = parking_instance(rig, &j);
    int64_t now = ph_clock_wall_us();
    struct ph_event event = {.aggregate_type = PH_STR("order"),
                             .aggregate_id = PH_STR("order-1"),
                             .event_type = PH_STR("reminded"),
                             .created_us = now,
                             .deliver_after_us = now + 20000};
    assert_int_equal(ph_memory_log_append(rig->log, &event), 1);
    rig->count++;
    rig_append(rig, 20, 0);
    rig_start(inst);
    AWAIT(settled(rig));
    AWAIT(rows(rig, PH_PARK_SCHEDULED) == 0);
    size_t index, last = 0;
    assert_false(delivered_at(rig, 1, &index));
    j.mended = true;
    AWAIT(ph_memory_store_count(rig->store) == 21);
    assert_true(delivered_at(rig, 1, &index) && delivered_at(rig, 16, &last));
    assert_true(index > last);
    finish(rig, inst);
}

/* The change of rows fails, before or after it was made: the next session finds its way. */
static void a_lost_log_while_parking(void **state)
{
    (void)state;
    static const enum ph_memory_call calls[] = {PH_MEMORY_PARK, PH_MEMORY_PARKED, PH_MEMORY_DUE};
    for (unsigned i = 0; i < 8 * COUNT(calls); i++) {
        struct rig *rig = rig_new();
        struct judge j = {.bad = {4, 12, 13}, .verdict = PH_RETRY};
        struct instance *inst = parking_instance(rig, &j);
        rig_append(rig, 40, 9);
        ph_memory_log_fail(rig->log, calls[i % COUNT(calls)], i / COUNT(calls), 1,
                           PH_E_UNAVAILABLE);
        rig_start(inst);
        AWAIT(inst->seeks == 2);
        j.mended = true;
        AWAIT(in_order(rig) == 40 && settled(rig));
        AWAIT(rows(rig, PH_PARK_PARKED) == 0);
        finish(rig, inst);
    }
}

static void a_person_pauses_it(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = parking_instance(rig, NULL);
    inst->config.options.lease_ms = 150;
    rig_append(rig, 10, 0);
    rig_start(inst);
    AWAIT(ph_memory_store_count(rig->store) == 10);
    ph_memory_log_pause(rig->log, "orders", 0, true);
    AWAIT(rig_said("paused by a person") == 1);
    rig_append(rig, 10, 0);
    assert_false(ph_stop_wait(&inst->stop, 100));
    assert_int_equal(ph_memory_store_count(rig->store), 10);
    ph_memory_log_pause(rig->log, "orders", 0, false);
    AWAIT(ph_memory_store_count(rig->store) == 20);
    assert_int_equal(rig_said("resumed"), 1);
    ph_memory_log_pause(rig->log, "orders", 0, true);
    AWAIT(rig_said("paused by a person") == 2);
    assert_int_equal(rig_stop(inst), 0);
    rig_instance_free(inst);
    rig_append(rig, 5, 0);
    struct ph_error err = {0};
    assert_int_equal(rig_once(rig, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "posthorn resume"));
    rig_free(rig);
}

static void once_says_what_is_left(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {5}, .verdict = PH_REJECT};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.once = true;
    rig_append(rig, 20, 0);
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_REFUSED);
    assert_non_null(strstr(inst->err.text, "1 events are dead and 2 are parked"));
    assert_true(settled(rig));
    assert_int_equal(ph_memory_store_count(rig->store), 17);
    rig_instance_free(inst);
    rig_free(rig);
}

static void once_ends_at_park_max(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct judge j = {.bad = {2, 3}, .verdict = PH_REJECT};
    struct instance *inst = parking_instance(rig, &j);
    inst->config.once = true;
    inst->config.options.park_max = 0;
    rig_append(rig, 60, 0);
    rig_start(inst);
    assert_int_equal(rig_join(inst), PH_E_REFUSED);
    assert_non_null(strstr(inst->err.text, "park_max is reached"));
    assert_false(settled(rig));
    rig_instance_free(inst);
    rig_free(rig);
}

static void a_rate_is_kept(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct instance *inst = parking_instance(rig, NULL);
    inst->config.options.rate = 200;
    inst->config.once = true;
    rig_append(rig, 100, 0);
    int64_t before = ph_clock_mono_us();
    rig_start(inst);
    assert_int_equal(rig_join(inst), 0);
    assert_true(ph_clock_mono_us() - before >= 440000); /* the first tenth of a second is free */
    assert_int_equal(rig_delivered(rig, 100), 0);
    rig_instance_free(inst);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_tried_again),
        cmocka_unit_test(a_dead_event_holds_its_key),
        cmocka_unit_test(attempts_end),
        cmocka_unit_test(a_key_goes_on_with_skip),
        cmocka_unit_test(a_gap_outlives_a_restart),
        cmocka_unit_test(a_dead_event_can_stop_it),
        cmocka_unit_test(park_max_is_a_sink_that_is_down),
        cmocka_unit_test(what_cannot_be_routed_is_dead),
        cmocka_unit_test(a_scheduled_event_holds_nobody),
        cmocka_unit_test(a_scheduled_event_queues_behind),
        cmocka_unit_test(a_lost_log_while_parking),
        cmocka_unit_test(a_person_pauses_it),
        cmocka_unit_test(once_says_what_is_left),
        cmocka_unit_test(once_ends_at_park_max),
        cmocka_unit_test(a_rate_is_kept),
    };
    ph_log_to(rig_take_line, NULL);
    return cmocka_run_group_tests_name("pipeline_park", tests, NULL, NULL);
}
