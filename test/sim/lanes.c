/*
 * A sink of the simulation with lanes, as a broker has partitions: each delivers in order, none
 * waits for another, and verdicts come in any order. What is on its way when the core gives up may
 * still arrive. It delivers to the memory store. Promise: before an event is refused, all earlier
 * ones of its lane are SENT, and nothing later of it is delivered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/sys.h"
#include "world.h"

#define LANES 3

enum mark { NEW, DELIVERED };

struct lanes {
    struct ph_memory_store *store;
    bool stopped; /* a refusal was told */
    size_t stopped_lane;
    size_t count;
    struct ph_batch *flights[SIM_FLIGHTS_MAX];
};

static int lanes_open(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                      struct ph_error *err)
{
    (void)config;
    struct lanes *s = ph_mem_zero(1, sizeof *s);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "lanes: no memory");
    }
    int rc = ph__store_find(env->uri, &s->store, err);
    if (rc < 0) {
        ph_mem_free(s);
        return rc;
    }
    *ret_ctx = s;
    return 0;
}

static void lanes_close(void *ctx)
{
    struct lanes *s = ctx;
    ph_memory_store_put(s->store);
    ph_mem_free(s);
}

static size_t lane_of(const struct ph_event *event)
{
    return event->key.len > 0 ? (size_t)event->key.ptr[event->key.len - 1] % LANES : 0;
}

/* Walks what it was given, in order, until each returns false. */
static void walk(struct lanes *s,
                 bool (*each)(struct lanes *s, struct ph_batch *batch, struct ph_event *event,
                              void *arg),
                 void *arg)
{
    for (size_t i = 0; i < s->count; i++) {
        struct ph_batch *batch = s->flights[i];
        for (size_t j = 0; j < batch->count; j++) {
            struct ph_event *event = &batch->events[j];
            if (event->verdict == PH_PENDING && !each(s, batch, event, arg)) {
                return;
            }
        }
    }
}

/* One round of delivering: a lane goes as far as the dice let it, or to a refusal. */
struct round {
    bool ended[LANES];
    struct ph_event *refused;
    struct ph_batch *of; /* the refused event's batch */
    enum ph_verdict verdict;
    const char *cause;
    int rc;
};

static bool deliver(struct lanes *s, struct ph_batch *batch, struct ph_event *event, void *arg)
{
    struct round *round = arg;
    size_t lane = lane_of(event);
    if (event->mark == DELIVERED || round->ended[lane]) {
        return true;
    }
    const char *cause = NULL;
    enum ph_verdict verdict = PH_PENDING;
    if (world.calm || !dice_one_in(&world.verdict, 4)) {
        verdict = ph__store_verdict(s->store, event, &cause);
    }
    if (verdict == PH_SENT) {
        round->rc = ph__store_add(s->store, batch, event, NULL);
        event->mark = round->rc == 0 ? DELIVERED : NEW;
        return round->rc == 0;
    }
    round->ended[lane] = true;
    if (verdict != PH_PENDING && !round->refused) {
        round->refused = event;
        round->of = batch;
        round->verdict = verdict;
        round->cause = cause;
    }
    return true;
}

static bool confirm(struct lanes *s, struct ph_batch *batch, struct ph_event *event, void *arg)
{
    (void)s;
    const struct round *round = arg;
    if (event == round->refused) {
        ph_batch_verdict(batch, event, round->verdict, round->cause);
        return true;
    }
    bool forced = round->refused && lane_of(event) == lane_of(round->refused);
    if (event->mark == DELIVERED && (forced || world.calm || dice_one_in(&world.verdict, 2))) {
        ph_batch_verdict(batch, event, PH_SENT, NULL);
    }
    return true;
}

static void drop_done(struct lanes *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!ph_batch_judged(s->flights[i])) {
            s->flights[kept++] = s->flights[i];
        }
    }
    s->count = kept;
}

static int lanes_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct lanes *s = ctx;
    assert(s->count < SIM_FLIGHTS_MAX && !s->stopped);
    s->flights[s->count++] = batch;
    for (size_t i = 0; i < batch->count; i++) {
        batch->events[i].mark = NEW;
    }
    ph__store_lock(s->store);
    int rc = ph__store_call(s->store, err);
    ph__store_unlock(s->store);
    return rc;
}

static int lanes_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    (void)timeout_ms;
    struct lanes *s = ctx;
    struct round round = {.rc = 0};
    ph__store_lock(s->store);
    int rc = ph__store_call(s->store, err);
    if (rc == 0 && !s->stopped) {
        walk(s, deliver, &round);
        walk(s, confirm, &round);
    }
    ph__store_unlock(s->store);
    if (round.refused) {
        s->stopped = true;
        s->stopped_lane = lane_of(round.refused);
    }
    drop_done(s);
    return rc < 0 ? rc : round.rc < 0 ? ph_fail(err, round.rc, "lanes: no memory") : 0;
}

static int lanes_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static void lanes_abandon(void *ctx)
{
    struct lanes *s = ctx;
    struct round round = {.rc = 0};
    if (s->stopped) {
        round.ended[s->stopped_lane] = true;
    }
    ph__store_lock(s->store);
    walk(s, deliver, &round);
    ph__store_unlock(s->store);
    s->count = 0;
    s->stopped = false;
}

const struct ph_sink_driver lanes_sink = {
    .name = "lanes",
    .caps = PH_SINK_RECORDS,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = lanes_open,
    .submit = lanes_submit,
    .poll = lanes_poll,
    .fd = lanes_fd,
    .abandon = lanes_abandon,
    .close = lanes_close,
};
