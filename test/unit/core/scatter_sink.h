/*
 * A sink for the pipeline tests that delivers to the memory store in order, but confirms in any
 * order: at each poll some of the events that are out get their verdict. It goes down at random,
 * also in a poll that has given verdicts, and refuses the events it is told to, once each.
 */
#ifndef PH_TEST_SCATTER_SINK_H
#define PH_TEST_SCATTER_SINK_H

#include "pipeline_watch.h"

#define SCATTER_REFUSALS_MAX 8

struct scatter_config {
    struct rig *rig;
    uint64_t seed;
    unsigned down_one_in;                   /* calls; 0: never */
    unsigned sent_one_in;                   /* of the events that are out, at each poll */
    int64_t refusals[SCATTER_REFUSALS_MAX]; /* positions; 0 once refused */
};

struct scatter_flight {
    struct ph_batch *batch;
    size_t delivered, judged;
};

struct scatter {
    struct scatter_config *config;
    struct scatter_flight flights[RIG_FLIGHTS_MAX];
    size_t count;
    unsigned down_left;
    bool refused;
};

static inline uint64_t scatter_below(struct scatter_config *config, uint64_t bound)
{
    config->seed = config->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (config->seed >> 33) % bound;
}

static inline int scatter_open(const struct ph_sink_env *env, const void *config, void **ret,
                               struct ph_error *err)
{
    (void)env;
    (void)err;
    struct scatter *s = calloc(1, sizeof *s);
    assert(s);
    s->config = (struct scatter_config *)(uintptr_t)config;
    *ret = s;
    return 0;
}

static inline int scatter_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    (void)ctx;
    (void)ret;
    (void)err;
    return 0;
}

/* Goes down now and then, for some calls. */
static inline int scatter_call(struct scatter *s, struct ph_error *err)
{
    if (s->down_left == 0 && s->config->down_one_in > 0 &&
        scatter_below(s->config, s->config->down_one_in) == 0) {
        s->down_left = 1 + (unsigned)scatter_below(s->config, 4);
    }
    if (s->down_left == 0) {
        return 0;
    }
    s->down_left--;
    return ph_fail(err, scatter_below(s->config, 2) ? PH_E_UNAVAILABLE : PH_E_IO, "down at random");
}

static inline int scatter_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct scatter *s = ctx;
    assert(s->count < RIG_FLIGHTS_MAX && !s->refused);
    s->flights[s->count++] = (struct scatter_flight){.batch = batch};
    return scatter_call(s, err);
}

/* Whether this event is to be refused; each is so once. */
static inline bool scatter_refuses(struct scatter *s, const struct ph_event *event)
{
    for (size_t i = 0; i < SCATTER_REFUSALS_MAX; i++) {
        if (s->config->refusals[i] == event->position) {
            s->config->refusals[i] = 0;
            return true;
        }
    }
    return false;
}

/* Gives verdicts; all of them (SENT) when all is set. */
static inline size_t scatter_judge(struct scatter *s, bool all)
{
    size_t given = 0, kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct scatter_flight *flight = &s->flights[i];
        for (size_t j = 0; j < flight->delivered; j++) {
            struct ph_event *event = &flight->batch->events[j];
            if (event->verdict == PH_PENDING &&
                (all || scatter_below(s->config, s->config->sent_one_in) == 0)) {
                ph_batch_verdict(flight->batch, event, PH_SENT, NULL);
                flight->judged++;
                given++;
            }
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        if (s->flights[i].judged < s->flights[i].batch->count) {
            s->flights[kept++] = s->flights[i];
        }
    }
    s->count = kept;
    return given;
}

/* Delivers up to `left` events in order, or to the next refusal, which everything before is
 * confirmed ahead of. */
static inline void scatter_deliver(struct scatter *s, size_t left)
{
    struct ph_memory_store *store = s->config->rig->store;
    for (size_t i = 0; i < s->count; i++) {
        struct scatter_flight *flight = &s->flights[i];
        struct ph_batch *batch = flight->batch;
        for (; flight->delivered < batch->count && left > 0; left--) {
            struct ph_event *event = &batch->events[flight->delivered];
            if (scatter_refuses(s, event)) {
                (void)scatter_judge(s, true);
                s->refused = true;
                ph_batch_verdict(batch, event, event->position % 2 ? PH_RETRY : PH_REJECT,
                                 "scattered");
                return;
            }
            ph__store_lock(store);
            int rc = ph__store_add(store, batch, event, NULL);
            ph__store_unlock(store);
            assert(rc == 0);
            flight->delivered++;
        }
    }
}

static inline int scatter_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct scatter *s = ctx;
    size_t given = 0;
    if (!s->refused && s->down_left == 0) {
        scatter_deliver(s, 1 + scatter_below(s->config, 40));
    }
    if (!s->refused) {
        given = scatter_judge(s, false);
    }
    int rc = scatter_call(s, err);
    if (rc == 0 && given == 0 && timeout_ms > 0) {
        (void)ph_stop_wait(NULL, 1);
    }
    return rc;
}

static inline int scatter_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static inline void scatter_abandon(void *ctx)
{
    struct scatter *s = ctx;
    s->count = 0;
    s->refused = false;
}

static inline void scatter_close(void *ctx)
{
    free(ctx);
}

static const struct ph_sink_driver scatter_sink = {
    .name = "scatter",
    .caps = PH_SINK_RECORDS,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = scatter_open,
    .resume = scatter_resume,
    .submit = scatter_submit,
    .poll = scatter_poll,
    .fd = scatter_fd,
    .abandon = scatter_abandon,
    .close = scatter_close,
};

#endif
