/*
 * The drivers of the simulation: each call of the core passes a gate before it reaches the memory
 * driver. At the gate others may run, and the call may take long, fail with or without its effect,
 * or be the moment at which the instance crashes or falls asleep.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/sys.h"
#include "world.h"

#define REAL_SOURCE (&ph_source_memory)

enum fate { DO, FAIL, DO_AND_FAIL };

/* An instance of a driver, as the core has it. */
struct guard {
    struct life *life;
    void *real;
    bool lost; /* the connection; never comes back */
};

const char *const sim_plants[] = {"settle-ahead", "no-fence", "forget-held", "lose-row",
                                  "blind",        "leak",     "disorder",    NULL};

bool sim_planted(const char *plant)
{
    return sim_settings.plant && strcmp(sim_settings.plant, plant) == 0;
}

/* --- the gate --------------------------------------------------------------------------------- */

static void crash(struct life *life, const char *call)
{
    sim_trace("CRASH at %s", call);
    if (sim_planted("leak")) {
        (void)!ph_mem_strdup(call);
    }
    sim_tally->crashes++;
    life->crashed = true;
    ph_stop_request(&life->stop);
}

static void take_time(struct life *life, const char *call)
{
    const struct knobs *knobs = &world.knobs;
    uint64_t lease_us = (uint64_t)knobs->lease_ms * 1000;
    if (dice_one_in(&world.fault, knobs->stall_in)) {
        struct actor *actor = &life->slot->actor;
        actor->asleep_until_us = tasks_now_us() + (int64_t)dice_below(&world.fault, 3 * lease_us);
        sim_trace("ASLEEP at %s until %.6f", call, (double)(actor->asleep_until_us) / 1e6 - 1000);
        sim_tally->stalls++;
        tasks_step();
    } else if (dice_one_in(&world.fault, knobs->slow_in)) {
        sim_tally->slow++;
        tasks_sleep((int64_t)dice_below(&world.fault, lease_us / 2));
    }
}

static enum fate gate(struct guard *guard, const char *call)
{
    struct life *life = guard->life;
    const struct knobs *knobs = &world.knobs;
    sim_tally->calls++;
    tasks_step();
    if (!world.calm && !life->crashed) {
        take_time(life, call);
    }
    if (life->crashed || guard->lost) {
        return FAIL;
    }
    if (sim_settings.crash && world.calls++ == sim_settings.nth) {
        world.hits++;
        crash(life, call);
        return sim_settings.width == 1 ? FAIL : DO_AND_FAIL;
    }
    if (world.calm) {
        return DO;
    }
    if (dice_one_in(&world.fault, knobs->crash_in)) {
        crash(life, call);
        return dice_one_in(&world.fault, 2) ? FAIL : DO_AND_FAIL;
    }
    if (dice_one_in(&world.fault, knobs->lose_in)) {
        sim_tally->losses++;
        return dice_one_in(&world.fault, 2) ? FAIL : DO_AND_FAIL;
    }
    return DO;
}

/* The answer that the core gets. */
static int answer(struct guard *guard, const char *call, enum fate fate, int rc,
                  struct ph_error *err)
{
    static const char *const words[] = {"", " LOST", " ANSWER LOST"};
    sim_trace("%s: %d%s", call, rc, words[fate]);
    if (fate == DO) {
        return rc;
    }
    return ph_fail(err, PH_E_UNAVAILABLE, "%s: %s of a simulation", call,
                   guard->life->crashed ? "the crash" : "a loss");
}

/* For a connection that is one: after a failed call it is lost for good. */
static int answer_or_lose(struct guard *guard, const char *call, enum fate fate, int rc,
                          struct ph_error *err)
{
    guard->lost |= fate != DO;
    return answer(guard, call, fate, rc, err);
}

static struct guard *new_guard(const void *config)
{
    struct guard *guard = malloc(sizeof *guard);
    assert(guard);
    *guard = (struct guard){.life = (struct life *)(uintptr_t)config};
    return guard;
}

/* --- source ----------------------------------------------------------------------------------- */

static int source_open(const struct ph_source_env *env, const void *config, void **ret,
                       struct ph_error *err)
{
    struct guard *guard = new_guard(config);
    enum fate fate = gate(guard, "open");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->open(env, NULL, &guard->real, err);
    rc = answer(guard, "open", fate, rc, err);
    if (rc == 0) {
        *ret = guard;
        return 0;
    }
    if (guard->real) {
        REAL_SOURCE->close(guard->real);
    }
    free(guard);
    return rc;
}

static int source_timeline(void *ctx)
{
    return REAL_SOURCE->timeline(((struct guard *)ctx)->real);
}

static int source_load(void *ctx, int64_t epoch, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "load");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->load(guard->real, epoch, ret, err);
    if (fate != FAIL && rc >= 0) {
        check_session(guard->life, epoch);
    }
    return answer_or_lose(guard, "load", fate, rc, err);
}

static int source_contains(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "contains");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->contains(guard->real, cp, err);
    return answer_or_lose(guard, "contains", fate, rc, err);
}

static int source_begin(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                        struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "begin");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->begin(guard->real, start, ret, err);
    return answer_or_lose(guard, "begin", fate, rc, err);
}

static int source_seek(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "seek");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->seek(guard->real, cp, err);
    return answer_or_lose(guard, "seek", fate, rc, err);
}

/* A source refuses rows that it cannot read. */
static void mark_flaws(struct ph_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (check_fact(&batch->events[i].id)->flawed) {
            ph_batch_verdict(batch, &batch->events[i], PH_REJECT, "the row makes no sense");
        }
    }
}

static int source_fetch(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "fetch");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->fetch(guard->real, batch, err);
    if (fate != FAIL && rc == PH_FETCH_BATCH) {
        mark_flaws(batch);
    }
    return answer_or_lose(guard, "fetch", fate, rc, err);
}

static int source_fd(void *ctx)
{
    return REAL_SOURCE->fd(((struct guard *)ctx)->real);
}

static int64_t source_due_us(void *ctx)
{
    return REAL_SOURCE->due_us(((struct guard *)ctx)->real);
}

static bool source_at_end(void *ctx)
{
    return REAL_SOURCE->at_end(((struct guard *)ctx)->real);
}

/* A planted bug: the checkpoint says one event more than was delivered. */
static struct ph_checkpoint one_ahead(const struct ph_checkpoint *cp)
{
    struct ph_checkpoint ahead = *cp;
    ph__memory_lock(world.log);
    size_t next = ph__memory_behind(world.log, cp->at);
    if (next < world.log->told && world.log->events[next].tick == cp->at.tick) {
        ahead.at.position = world.log->events[next].event.position;
    }
    ph__memory_unlock(world.log);
    return ahead;
}

static int source_settle(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "settle");
    struct ph_checkpoint said = sim_planted("settle-ahead") ? one_ahead(cp) : *cp;
    said.epoch = sim_planted("no-fence") ? world.epoch_max : said.epoch;
    int rc = fate == FAIL ? 0 : REAL_SOURCE->settle(guard->real, &said, err);
    return answer_or_lose(guard, "settle", fate, rc, err);
}

static int source_settled(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "settled");
    check_waited(guard->life);
    uint64_t rows = check_rows();
    int rc = fate == FAIL ? 0 : REAL_SOURCE->settled(guard->real, 0, err);
    sim_tally->fenced += rc == PH_E_FENCED;
    check_stored(guard->life, rows);
    if (fate == DO && rc == 0 && timeout_ms > 0) {
        tasks_sleep(1000);
    }
    return answer_or_lose(guard, "settled", fate, rc, err);
}

static int tell_nobody(void *arg, const struct ph_held *held)
{
    (void)arg, (void)held;
    return 0;
}

static int source_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
                       struct ph_park_totals *ret, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "held");
    int rc = fate == FAIL ? 0
             : sim_planted("forget-held")
                 ? REAL_SOURCE->held(guard->real, tell_nobody, NULL, ret, err)
                 : REAL_SOURCE->held(guard->real, each, arg, ret, err);
    return answer_or_lose(guard, "held", fate, rc, err);
}

static void trace_changes(const struct ph_park_change *changes, size_t count)
{
    static const char *const acts[] = {"put", "sent", "failed", "queue", "told"};
    static const char *const states[] = {"parked", "dead", "scheduled"};
    for (size_t i = 0; i < count; i++) {
        const struct ph_park_change *change = &changes[i];
        bool stated = change->act == PH_PARK_PUT || change->act == PH_PARK_FAILED;
        sim_trace("  %s event %lld%s%s%s", acts[change->act], (long long)change->at.position,
                  stated ? " " : "", stated ? states[change->state] : "",
                  change->passed ? " passed" : "");
        sim_tally->parked += change->act == PH_PARK_PUT;
        sim_tally->dead += stated && change->state == PH_PARK_DEAD;
        sim_tally->scheduled += stated && change->state == PH_PARK_SCHEDULED;
    }
}

static int source_park(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
                       struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "park");
    epoch = sim_planted("no-fence") ? world.epoch_max : epoch;
    count -= sim_planted("lose-row") && count > 1;
    trace_changes(changes, count);
    int rc = fate == FAIL ? 0 : REAL_SOURCE->park(guard->real, epoch, changes, count, err);
    return answer_or_lose(guard, "park", fate, rc, err);
}

static int source_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "due");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->due(guard->real, batch, ret, err);
    for (size_t i = 0; fate != FAIL && rc == PH_FETCH_BATCH && i < batch->count; i++) {
        sim_trace("  due: event %lld", (long long)batch->events[i].position);
    }
    if (fate != FAIL && rc == PH_FETCH_BATCH) {
        mark_flaws(batch);
    }
    return answer_or_lose(guard, "due", fate, rc, err);
}

static void source_close(void *ctx)
{
    struct guard *guard = ctx;
    tasks_step();
    REAL_SOURCE->close(guard->real);
    free(guard);
}

/* --- lease: its connection comes back by itself ----------------------------------------------- */

static int lease_open(const struct ph_source_env *env, const void *config, void **ret,
                      struct ph_error *err)
{
    struct guard *guard = new_guard(config);
    enum fate fate = gate(guard, "lease_open");
    int rc = fate == FAIL ? 0 : REAL_SOURCE->lease_open(env, NULL, &guard->real, err);
    rc = answer(guard, "lease_open", fate, rc, err);
    if (rc == 0) {
        *ret = guard;
        return 0;
    }
    if (guard->real) {
        REAL_SOURCE->lease_close(guard->real);
    }
    free(guard);
    return rc;
}

static void hear(struct life *life, bool heard, const struct ph_lease_said *said)
{
    if (heard) {
        life->paused = said->paused;
        life->knew_paused = life->knew_paused && said->paused;
    }
}

static int lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                       struct ph_lease_said *said, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "claim");
    int rc = fate == FAIL
                 ? 0
                 : REAL_SOURCE->lease_claim(guard->real, owner, lease_ms, ret_epoch, said, err);
    hear(guard->life, fate == DO && rc == 1, said);
    return answer(guard, "claim", fate, rc, err);
}

static int lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                       const char *last_error, struct ph_lease_said *said, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "renew");
    int rc = fate == FAIL ? 0
                          : REAL_SOURCE->lease_renew(guard->real, owner, epoch, lease_ms,
                                                     last_error, said, err);
    rc = rc == PH_E_FENCED && sim_planted("blind") ? 0 : rc;
    hear(guard->life, fate == DO && rc == 0, said);
    return answer(guard, "renew", fate, rc, err);
}

static int lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                         struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "release");
    int rc =
        fate == FAIL ? 0 : REAL_SOURCE->lease_release(guard->real, owner, epoch, in_order, err);
    if (fate != FAIL && rc == 0 && (in_order || sim_planted("disorder"))) {
        check_in_order();
    }
    return answer(guard, "release", fate, rc, err);
}

static void lease_close(void *ctx)
{
    struct guard *guard = ctx;
    tasks_step();
    REAL_SOURCE->lease_close(guard->real);
    free(guard);
}

const struct ph_source_driver sim_source = {
    .name = "memory",
    .open = source_open,
    .timeline = source_timeline,
    .load = source_load,
    .contains = source_contains,
    .begin = source_begin,
    .seek = source_seek,
    .fetch = source_fetch,
    .fd = source_fd,
    .due_us = source_due_us,
    .at_end = source_at_end,
    .settle = source_settle,
    .settled = source_settled,
    .held = source_held,
    .park = source_park,
    .due = source_due,
    .close = source_close,
    .lease_open = lease_open,
    .lease_claim = lease_claim,
    .lease_renew = lease_renew,
    .lease_release = lease_release,
    .lease_close = lease_close,
};

/* --- sink ------------------------------------------------------------------------------------- */

static const struct ph_sink_driver *real_sink(void)
{
    return world.knobs.sink == 2 ? &lanes_sink : &ph_sink_memory;
}

static int sink_open(const struct ph_sink_env *env, const void *config, void **ret,
                     struct ph_error *err)
{
    struct guard *guard = new_guard(config);
    enum fate fate = gate(guard, "sink open");
    int rc = fate == FAIL ? 0 : real_sink()->open(env, NULL, &guard->real, err);
    rc = answer(guard, "sink open", fate, rc, err);
    if (rc == 0) {
        *ret = guard;
        return 0;
    }
    if (guard->real) {
        real_sink()->close(guard->real);
    }
    free(guard);
    return rc;
}

static int sink_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "resume");
    int rc = fate == FAIL ? 0 : real_sink()->resume(guard->real, ret, err);
    return answer(guard, "resume", fate, rc, err);
}

static int sink_begin(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = gate(guard, "begin");
    int rc = fate == FAIL ? 0 : real_sink()->begin(guard->real, cp, anew, err);
    return answer(guard, "begin", fate, rc, err);
}

static struct ph_position sink_kept_at(void *ctx)
{
    return real_sink()->kept_at(((struct guard *)ctx)->real);
}

/* A sink that is down keeps what it was given: the store itself plays that. */
static enum fate sink_gate(struct guard *guard, const char *call)
{
    enum fate fate = gate(guard, call);
    if (fate == DO && !world.calm && dice_one_in(&world.fault, world.knobs.down_in)) {
        sim_tally->downs++;
        ph_memory_store_down(world.store, 0, 1,
                             dice_one_in(&world.fault, 2) ? PH_E_IO : PH_E_UNAVAILABLE);
    }
    /* what a lost call was given is not forgotten, unless its instance is */
    if (fate == FAIL && !guard->life->crashed) {
        ph_memory_store_down(world.store, 0, 1, PH_E_UNAVAILABLE);
        fate = DO;
    }
    return fate;
}

static int sink_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = sink_gate(guard, "submit");
    if (!guard->life->crashed) {
        sim_trace("submits %zu events from %lld", batch->count,
                  (long long)batch->events[0].position);
        check_submit(guard->life, batch);
    }
    int rc = fate == FAIL ? 0 : real_sink()->submit(guard->real, batch, err);
    ph_memory_store_down(world.store, 0, 0, 0);
    check_delivered(guard->life);
    return answer(guard, "submit", fate, rc, err);
}

static int sink_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct guard *guard = ctx;
    enum fate fate = sink_gate(guard, "poll");
    check_waited(guard->life);
    int rc = fate == FAIL ? 0 : real_sink()->poll(guard->real, 0, err);
    ph_memory_store_down(world.store, 0, 0, 0);
    check_delivered(guard->life);
    if (timeout_ms > 0) {
        tasks_sleep(1000);
    }
    return answer(guard, "poll", fate, rc, err);
}

static int sink_fd(void *ctx)
{
    return real_sink()->fd(((struct guard *)ctx)->real);
}

static void sink_abandon(void *ctx)
{
    struct guard *guard = ctx;
    tasks_step();
    real_sink()->abandon(guard->real);
    check_delivered(guard->life);
    check_abandon(guard->life);
}

static void sink_close(void *ctx)
{
    struct guard *guard = ctx;
    tasks_step();
    real_sink()->close(guard->real);
    free(guard);
}

#define SINK(abilities)                                                                         \
    {                                                                                           \
        .name = "memory", .caps = (abilities), .refusal_order = PH_REFUSAL_PREFIX,              \
        .open = sink_open, .resume = sink_resume, .begin = sink_begin, .kept_at = sink_kept_at, \
        .submit = sink_submit, .poll = sink_poll, .fd = sink_fd, .abandon = sink_abandon,       \
        .close = sink_close,                                                                    \
    }

const struct ph_sink_driver sim_sink[] = {
    SINK(PH_SINK_RECORDS | PH_SINK_CHECKPOINT),
    SINK(PH_SINK_RECORDS),
    SINK(PH_SINK_RECORDS),
};
