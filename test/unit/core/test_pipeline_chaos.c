/* Many seeds: verdicts in any order, a sink that goes down, a log that is lost, refusals, stops and
 * starts, all at random; after each the promises are checked. A seed in PH_TEST_SEED runs alone. */
#include "unit.h"

#include "pipeline_rig.h"
#include "scatter_sink.h"

#define SEEDS_MAX 120
#define TIME_US   6000000 /* no further seed behind it */

struct chaos {
    struct rig *rig;
    struct scatter_config sink;
    uint64_t seed;
    int64_t batch_events, window, drain_timeout_ms, settle_interval_ms;
    int64_t starts;
    struct instance *inst;
};

static uint64_t below(struct chaos *c, uint64_t bound)
{
    c->seed = c->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (c->seed >> 33) % bound;
}

static void start(struct chaos *c, const struct ph_position *after)
{
    c->inst = rig_instance(c->rig);
    c->inst->real_sink = &scatter_sink;
    c->inst->sink.caps = PH_SINK_RECORDS;
    c->inst->sink_arg = &c->sink;
    c->inst->config.options.batch_events = c->batch_events;
    c->inst->config.options.window = c->window;
    c->inst->config.options.drain_timeout_ms = c->drain_timeout_ms;
    c->inst->config.options.settle_interval_ms = c->settle_interval_ms;
    c->inst->config.options.lease_ms = 200;
    if (after) {
        c->inst->config.start = (struct ph_start){.skip = true, .after = *after};
    }
    c->starts++;
    rig_start(c->inst);
}

/* The position that a refusal tells an operator to skip. */
static struct ph_position told(const struct ph_error *err)
{
    static const char words[] = "start=after:";
    struct ph_position at = {0, 0};
    const char *found = strstr(err->text, words);
    assert_non_null(found);
    assert_true(ph_position_parse(ph_str_from(found + sizeof words - 1), &at));
    return at;
}

/* Ends the instance, by a stop or as it has ended itself, and starts the next. */
static void restart(struct chaos *c)
{
    ph_stop_request(&c->inst->stop);
    int rc = rig_join(c->inst);
    struct ph_error err = c->inst->err;
    rig_instance_free(c->inst);
    if (rc != 0 && rc != PH_E_REFUSED) {
        fail_msg("%s: %s", ph_code_name(rc), err.text);
    }
    struct ph_position at = {0, 0};
    bool skip = rc == PH_E_REFUSED && below(c, 2) == 0; /* else the cause is mended */
    if (rc == PH_E_REFUSED) {
        at = told(&err);
    }
    start(c, skip ? &at : NULL);
}

static void trouble(struct chaos *c)
{
    static const enum ph_memory_call calls[] = {PH_MEMORY_FETCH, PH_MEMORY_SETTLE,
                                                PH_MEMORY_SETTLED, PH_MEMORY_OPEN, PH_MEMORY_LOAD};
    switch (below(c, 8)) {
    case 0:
    case 1:
        ph_memory_log_fail(c->rig->log, calls[below(c, COUNT(calls))], (unsigned)below(c, 10),
                           1 + (unsigned)below(c, 2), PH_E_UNAVAILABLE);
        break;
    case 2:
        ph_memory_log_stall(c->rig->log, below(c, 2) ? PH_MEMORY_FETCH : PH_MEMORY_SETTLE,
                            (unsigned)below(c, 10));
        break;
    case 3:
        ph_memory_log_expire(c->rig->log, "orders", 0);
        break;
    case 4:
        restart(c);
        break;
    case 5:
        (void)ph_memory_log_tick(c->rig->log);
        break;
    default:
        (void)ph_stop_wait(NULL, 1);
        break;
    }
}

static void calm(struct chaos *c)
{
    for (int i = 0; i < PH_MEMORY_CALLS; i++) {
        ph_memory_log_fail(c->rig->log, (enum ph_memory_call)i, 0, 0, 0);
    }
}

/* Waits until all is settled and stored, starting again after refusals. */
static void settle_down(struct chaos *c)
{
    struct ph_position stored = {0, 0}, end;
    (void)ph_memory_log_tick(c->rig->log);
    end = rig_at(c->rig, (int64_t)c->rig->count);
    int64_t until_us = ph_clock_mono_us() + RIG_AWAIT_US;
    while (!rig_stored(c->rig, &stored) || ph_position_cmp(stored, end) < 0) {
        if (c->inst->over) {
            restart(c);
        }
        (void)ph_stop_wait(NULL, 1);
        if (ph_clock_mono_us() > until_us) {
            fail_msg("stuck at %lld-%lld of %lld-%lld", (long long)stored.tick,
                     (long long)stored.position, (long long)end.tick, (long long)end.position);
        }
    }
}

static void one_seed(uint64_t seed)
{
    struct chaos c = {.rig = rig_new(), .seed = seed};
    c.batch_events = (int64_t)(1 + below(&c, 30));
    c.window = (int64_t)(1 + below(&c, 8));
    c.drain_timeout_ms = below(&c, 2) ? 5000 : (int64_t)below(&c, 20);
    c.settle_interval_ms = (int64_t)(1 + below(&c, 30));
    c.sink = (struct scatter_config){.rig = c.rig,
                                     .seed = below(&c, UINT32_MAX),
                                     .down_one_in = below(&c, 2) ? 3 + (unsigned)below(&c, 100) : 0,
                                     .sent_one_in = 1 + (unsigned)below(&c, 6)};
    for (size_t i = 0; i < SCATTER_REFUSALS_MAX && below(&c, 2); i++) {
        c.sink.refusals[i] = (int64_t)(1 + below(&c, 400));
    }
    start(&c, NULL);
    for (int step = 0; step < 25; step++) {
        rig_append(c.rig, 1 + below(&c, 40), below(&c, 3) ? 0 : 1 + below(&c, 20));
        trouble(&c);
        if (c.inst->over) {
            restart(&c);
        }
        rig_assert_kept(c.rig);
    }
    calm(&c);
    settle_down(&c);
    assert_int_equal(rig_stop(c.inst), 0);
    rig_instance_free(c.inst);
    (void)rig_finished(c.rig);
    rig_free(c.rig);
}

static void promises_are_kept(void **state)
{
    (void)state;
    const char *only = getenv("PH_TEST_SEED");
    int64_t until_us = ph_clock_mono_us() + TIME_US;
    uint64_t seed = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? seed : SEEDS_MAX;
    for (; seed <= last && ph_clock_mono_us() < until_us; seed++) {
        print_message("# seed %llu\n", (unsigned long long)seed);
        one_seed(seed);
    }
    assert_true(only || seed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_are_kept),
    };
    ph_log_to(rig_take_line, NULL);
    return cmocka_run_group_tests_name("pipeline_chaos", tests, NULL, NULL);
}
