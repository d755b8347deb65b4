/*
 * One seed from beginning to end: draws how the world is, lets events come and instances run, crash
 * and start again, then lets nothing go wrong any more and waits until all is quiet.
 */
#include "world.h"
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define STEPS_MAX   400000
#define CALM_US_MAX INT64_C(120000000) /* of its own time, until all must be quiet */
#define LOOK_US     20000

struct world world;
struct tally *sim_tally;

/* --- what the world is like ------------------------------------------------------------------- */

/* One of: never, seldom, now and then, often. */
static unsigned draw_rate(struct dice *dice, unsigned often)
{
    static const unsigned factors[] = {0, 16, 4, 1};
    return factors[dice_below(dice, 4)] * often;
}

static void draw_options(struct dice *dice, struct knobs *knobs)
{
    struct ph_pipeline_options *options = &knobs->options;
    int rc = ph_options_defaults(ph_pipeline_option_table, options, NULL);
    assert(rc == 0);
    options->batch_events = 1 + (int64_t)dice_below(dice, 8);
    options->window = 1 + (int64_t)dice_below(dice, 4);
    options->settle_interval_ms = 1 + (int64_t)dice_below(dice, 60);
    options->drain_timeout_ms = (int64_t)dice_below(dice, 3) * 100;
    options->lease_ms = knobs->lease_ms;
    options->maintain_interval_ms = 0;
    options->backoff_initial_ms = 1 + (int64_t)dice_below(dice, 20);
    options->backoff_max_ms = options->backoff_initial_ms * 4;
    options->on_dead = (int)dice_below(dice, 3);
    options->park_max = dice_one_in(dice, 4) ? 1 + (int64_t)dice_below(dice, 6) : 1000;
    options->rate = dice_one_in(dice, 6) ? 100 + (int64_t)dice_below(dice, 1000) : 0;
    knobs->retry = (struct ph_retry_options){.initial_ms = 1 + (int64_t)dice_below(dice, 20),
                                             .max_ms = 20 + (int64_t)dice_below(dice, 200),
                                             .multiplier = 1 + (int64_t)dice_below(dice, 3),
                                             .attempts = 1 + (int64_t)dice_below(dice, 5)};
    knobs->tidy = options->on_dead == PH_ON_DEAD_STOP || options->park_max < 1000;
}

static struct knobs draw_knobs(struct dice *dice)
{
    struct knobs knobs = {
        .slots = 1 + (unsigned)dice_below(dice, SIM_SLOTS_MAX),
        .keys = 1 + (unsigned)dice_below(dice, SIM_KEYS_MAX),
        .events = 4 + (unsigned)dice_below(dice, SIM_EVENTS_MAX - 3),
        .active_us = 300000 + (int64_t)dice_below(dice, 1500000),
        .lease_ms = 100 + (int64_t)dice_below(dice, 300),
        .crash_in = draw_rate(dice, 40),
        .lose_in = draw_rate(dice, 30),
        .stall_in = draw_rate(dice, 50),
        .slow_in = draw_rate(dice, 20),
        .down_in = draw_rate(dice, 8),
        .retry_in = draw_rate(dice, 4),
        .reject_in = draw_rate(dice, 8),
        .poison_in = draw_rate(dice, 10),
        .flaw_in = draw_rate(dice, 20),
        .later_in = draw_rate(dice, 6),
        .redrive_in = draw_rate(dice, 3),
        .discard_in = draw_rate(dice, 5),
        .rest_in = draw_rate(dice, 10),
        .sink = (unsigned)dice_below(dice, 3),
        .unwanted_in = draw_rate(dice, 5),
        .keyless = dice_one_in(dice, 12),
        .own_ticks = dice_one_in(dice, 2),
    };
    draw_options(dice, &knobs);
    return knobs;
}

/* --- instances -------------------------------------------------------------------------------- */

static char wanted_type[] = "placed";

static void life_begin(struct life *life, struct slot *slot)
{
    *life = (struct life){.slot = slot, .number = ++world.lives};
    struct ph_pipeline_config *config = &life->config;
    int rc = ph_options_defaults(ph_route_options, &life->route, NULL);
    assert(rc == 0);
    static struct ph_match_config match = {.event_type = wanted_type};
    if (world.knobs.keyless) {
        rc =
            ph_option_set(ph_route_options, &life->route, "route", PH_STR("key"), PH_STR(""), NULL);
        assert(rc == 0);
    }
    config->match = &match;
    config->options = world.knobs.options;
    config->retry = world.knobs.retry;
    config->name = SIM_PIPELINE;
    config->from = world.from;
    config->to = world.to;
    config->source = &sim_source;
    config->source_config = life;
    config->sink = &sim_sink[world.knobs.sink];
    config->sink_config = life;
    config->route = &life->route;
    rc = ph_stop_init(&life->stop, NULL);
    assert(rc == 0);
    slot->life = life;
    sim_trace("BEGINS life %u", life->number);
}

static void life_end(struct life *life)
{
    life->slot->life = NULL;
    ph_stop_free(&life->stop);
    ph_options_free(ph_route_options, &life->route);
}

static void live(struct slot *slot)
{
    struct life life;
    life_begin(&life, slot);
    struct ph_pipeline *pipeline = NULL;
    struct ph_error err = {0};
    life.failing = sim_settings.oom;
    int rc = ph_pipeline_new(&life.config, &life.stop, &pipeline, &err);
    if (rc == 0) {
        rc = ph_pipeline_run(pipeline, &err);
        ph_pipeline_free(pipeline);
    }
    life.failing = false;
    sim_trace("ENDS life %u: %s %s", life.number, rc < 0 ? ph_code_name(rc) : "stopped", err.text);
    bool stopped_at_dead = rc == PH_E_REFUSED && world.knobs.options.on_dead == PH_ON_DEAD_STOP;
    bool no_memory = rc == PH_E_NOMEM && oom_hits() > 0;
    if (rc < 0 && !life.crashed && !stopped_at_dead && !no_memory) {
        sim_broken("an instance gives up: %s: %s", ph_code_name(rc), err.text);
    }
    if (rc == 0 && !ph_stop_wanted(&life.stop)) {
        sim_broken("an instance ends without being asked to");
    }
    life_end(&life);
}

bool world_is_failing(void)
{
    for (unsigned i = 0; i < world.knobs.slots; i++) {
        const struct slot *slot = &world.slots[i];
        if (&slot->actor == tasks_running()) {
            return slot->life && slot->life->failing;
        }
    }
    return false;
}

static void *slot_run(void *arg)
{
    struct slot *slot = arg;
    while (!world.over) {
        live(slot);
        int64_t pause_us = world.calm ? 1000 : world.knobs.lease_ms * 2000;
        tasks_sleep((int64_t)dice_below(&world.plan, (uint64_t)pause_us));
    }
    return NULL;
}

/* --- what happens to them --------------------------------------------------------------------- */

static int64_t some_time_later(void)
{
    return ph_clock_wall_us() + 1 + (int64_t)dice_below(&world.plan, 500000);
}

static void append(void)
{
    struct fact *fact = &world.facts[world.fact_count];
    char key[16], payload[32];
    *fact = (struct fact){.key = (unsigned)dice_below(&world.plan, world.knobs.keys)};
    (void)snprintf(key, sizeof key, "key-%u", fact->key);
    (void)snprintf(payload, sizeof payload, "{\"n\":%zu}", world.fact_count + 1);
    fact->unwanted = dice_one_in(&world.plan, world.knobs.unwanted_in);
    fact->poison = !fact->unwanted && dice_one_in(&world.plan, world.knobs.poison_in);
    fact->flawed = !fact->unwanted && dice_one_in(&world.plan, world.knobs.flaw_in);
    sim_tally->unwanted += fact->unwanted;
    fact->later = dice_one_in(&world.plan, world.knobs.later_in);
    fact->id.bytes[0] = 0x51;
    fact->id.bytes[15] = (uint8_t)(world.fact_count + 1);
    const struct ph_event event = {.id = fact->id,
                                   .aggregate_type = PH_STR("order"),
                                   .aggregate_id = ph_str_from(key),
                                   .event_type = fact->unwanted ? PH_STR("seen") : PH_STR("placed"),
                                   .payload = ph_str_from(payload),
                                   .headers_json = PH_STR("{}"),
                                   .deliver_after_us = fact->later ? some_time_later() : 0};
    fact->position = ph_memory_log_append(world.log, &event);
    assert(fact->position > 0);
    world.fact_count++;
    sim_tally->events++;
    sim_trace("writes event %lld of key %u%s%s%s%s", (long long)fact->position, fact->key,
              fact->poison ? ", poison" : "", fact->flawed ? ", flawed" : "",
              fact->later ? ", for later" : "", fact->unwanted ? ", unwanted" : "");
}

static void stop_some(void)
{
    struct slot *slot = &world.slots[dice_below(&world.plan, world.knobs.slots)];
    if (slot->life && !slot->life->crashed) {
        sim_trace("asks %s to stop", slot->actor.name);
        sim_tally->stops++;
        ph_stop_request(&slot->life->stop);
    }
}

static void redrive(const struct ph_memory_parked *row)
{
    struct fact *fact = check_fact(&row->kept.event.id);
    if (ph_memory_log_redrive(world.log, SIM_PIPELINE, 0, fact->position)) {
        sim_trace("redrives event %lld", (long long)fact->position);
        sim_tally->redriven++;
        fact->may_repeat |= fact->delivered > 0;
        fact->redriven++;
    }
}

static void discard(const struct ph_memory_parked *row)
{
    struct fact *fact = check_fact(&row->kept.event.id);
    if (ph_memory_log_discard(world.log, SIM_PIPELINE, 0, fact->position)) {
        sim_trace("discards event %lld", (long long)fact->position);
        sim_tally->discarded++;
        fact->discarded = true;
    }
}

/* What a person does about dead events now and then, and in the end to each of them. */
static void see_to_dead(void)
{
    const struct ph_memory_parked *row;
    for (size_t i = 0; (row = row_at(i)); i++) {
        if (row->state != PH_PARK_DEAD || row->discarded) {
            continue;
        }
        if (world.calm && check_fact(&row->kept.event.id)->redriven < 2) {
            redrive(row);
        } else if (world.calm) {
            discard(row);
        } else if (dice_one_in(&world.plan, world.knobs.redrive_in)) {
            redrive(row);
        } else if (dice_one_in(&world.plan, world.knobs.discard_in)) {
            discard(row);
        }
    }
}

static void pause(bool paused)
{
    ph_memory_log_pause(world.log, SIM_PIPELINE, 0, paused);
    sim_trace(paused ? "pauses" : "resumes");
    sim_tally->pauses += paused;
}

static void happen(void)
{
    struct dice *dice = &world.plan;
    see_to_dead();
    if (dice_one_in(dice, world.knobs.rest_in)) {
        pause(dice_one_in(dice, 2));
    }
    if (dice_one_in(dice, 30)) {
        stop_some();
    }
    if (dice_one_in(dice, 50)) {
        sim_trace("ends the lease");
        ph_memory_log_expire(world.log, SIM_PIPELINE, 0);
        int64_t epoch = ph_memory_log_epoch(world.log, SIM_PIPELINE, 0);
        world.robbed[(size_t)epoch % SIM_EPOCHS_MAX] = true;
    }
    if (dice_one_in(dice, 40)) {
        ph_memory_log_stall(world.log, dice_one_in(dice, 2) ? PH_MEMORY_FETCH : PH_MEMORY_SETTLE,
                            1 + (unsigned)dice_below(dice, 5));
    }
    if (world.knobs.own_ticks && dice_one_in(dice, 3)) {
        int64_t tick = ph_memory_log_tick(world.log);
        sim_trace("makes tick %lld", (long long)tick);
    }
}

static void act_up(void)
{
    int64_t pause_us = world.knobs.active_us * 2 / world.knobs.events;
    while (world.fact_count < world.knobs.events) {
        for (uint64_t i = 1 + dice_below(&world.plan, 4);
             i > 0 && world.fact_count < world.knobs.events; i--) {
            append();
        }
        happen();
        tasks_sleep((int64_t)dice_below(&world.plan, (uint64_t)pause_us));
    }
}

static void calm_down(void)
{
    world.calm = true;
    int64_t tick = ph_memory_log_tick(world.log);
    sim_trace("from now on nothing goes wrong; tick %lld", (long long)tick);
    ph_memory_log_manual_ticks(world.log, false);
    pause(false);
    int64_t until_us = tasks_now_us() + CALM_US_MAX;
    while (!check_quiet()) {
        if (tasks_now_us() > until_us) {
            check_say_rows();
            sim_broken("not quiet in time: %zu of %zu events are settled", world.covered,
                       world.fact_count);
        }
        if (world.knobs.tidy) {
            see_to_dead();
        }
        tasks_sleep(LOOK_US);
    }
}

static void *play(void *arg)
{
    (void)arg;
    act_up();
    calm_down();
    world.over = true;
    for (size_t i = 0; i < SIM_SLOTS_MAX; i++) {
        if (world.slots[i].life) {
            ph_stop_request(&world.slots[i].life->stop);
        }
    }
    return NULL;
}

/* --- one seed --------------------------------------------------------------------------------- */

/* What the sink says of an event at one attempt. */
static enum ph_verdict judge(void *arg, const struct ph_event *event, const char **cause)
{
    (void)arg;
    const struct fact *fact = check_fact(&event->id);
    bool reject = !world.calm && dice_one_in(&world.verdict, world.knobs.reject_in);
    bool retry = !world.calm && dice_one_in(&world.verdict, world.knobs.retry_in);
    if (!fact->poison && !reject && !retry) {
        return PH_SENT;
    }
    enum ph_verdict verdict = fact->poison || reject ? PH_REJECT : PH_RETRY;
    *cause = "refused by a simulation";
    sim_trace("  %s: event %lld of key %u", verdict == PH_RETRY ? "RETRY" : "REJECT",
              (long long)fact->position, fact->key);
    sim_tally->retries += verdict == PH_RETRY;
    sim_tally->rejects += verdict == PH_REJECT;
    return verdict;
}

/* A world for many runs; in every second one nothing else goes wrong. */
static void make_small(struct knobs *knobs, uint64_t seed)
{
    knobs->slots = 1;
    knobs->events = 4 + knobs->events % 8;
    knobs->active_us = 200000;
    if (seed % 2 == 0) {
        return;
    }
    knobs->crash_in = knobs->lose_in = knobs->stall_in = knobs->slow_in = knobs->down_in = 0;
}

static void world_begin(uint64_t seed)
{
    world = (struct world){.plan = {seed * 5}, .fault = {seed * 5 + 1}, .verdict = {seed * 5 + 2}};
    world.knobs = draw_knobs(&world.plan);
    if (sim_settings.oom || sim_settings.crash) {
        make_small(&world.knobs, seed);
    }
    (void)snprintf(world.name, sizeof world.name, "sim");
    (void)snprintf(world.from, sizeof world.from, "memory:%s", world.name);
    (void)snprintf(world.to, sizeof world.to, "memory:%s", world.name);
    world.log = ph_memory_log_get(world.name);
    world.store = ph_memory_store_get(world.name);
    assert(world.log && world.store);
    struct dice *dice = &world.plan;
    ph_memory_log_manual_ticks(world.log, world.knobs.own_ticks);
    ph_memory_store_judge(world.store, judge, NULL);
    ph_memory_store_delay(world.store, (unsigned)dice_below(dice, 4));
    ph_memory_store_pace(world.store, dice_below(dice, 4));
    bool exactly_once = world.knobs.sink == 0 && dice_one_in(dice, 2);
    ph_memory_store_keep_checkpoint(world.store, exactly_once);
    world.knobs.options.delivery = exactly_once ? PH_EXACTLY_ONCE : PH_AT_LEAST_ONCE;
}

void world_live(uint64_t seed)
{
    static struct actor player = {.name = "world"};
    sim_settings.seed = seed;
    oom_begin(sim_settings.nth, sim_settings.oom ? sim_settings.width : 0);
    long live_before = oom_live();
    world_begin(seed);
    tasks_begin(seed);
    tasks_spawn(&player, play, NULL);
    for (unsigned i = 0; i < world.knobs.slots; i++) {
        struct slot *slot = &world.slots[i];
        (void)snprintf(slot->actor.name, sizeof slot->actor.name, "%c", 'A' + (char)i);
        tasks_spawn(&slot->actor, slot_run, slot);
    }
    tasks_run(STEPS_MAX);
    check_end();
    sim_tally->seeds++;
    sim_tally->steps += tasks_steps();
    ph_memory_log_put(world.log);
    ph_memory_store_put(world.store);
    ph_options_free(ph_pipeline_option_table, &world.knobs.options);
    sim_tally->refused += oom_hits();
    world.hits += oom_hits();
    if (oom_live() != live_before) {
        sim_broken("%ld blocks were not given back", oom_live() - live_before);
    }
}
