/*
 * The memory sink's driver: delivers to a store inside this program. Events are delivered at submit
 * and get their verdicts at a poll, as with a broker whose acknowledgements take time.
 * Promise: prefix refusal order; after a refusal nothing is delivered and no verdict given until
 * abandon; no verdict reaches a batch that was used again; who has resumed shuts out those before.
 */
#include "sink/memory.h"

#include <assert.h>

#include "base/sys.h"
#include "sink/memory_store.h"

/* A batch that was submitted and has verdicts to come. */
struct flight {
    struct ph_batch *batch;
    uint64_t generation;
    unsigned polls_left;
    size_t delivered, judged; /* events of it, from its start */
};

struct memory_sink {
    struct ph_memory_store *store;
    struct ph_checkpoint_kept answer;
    enum ph_verdict refusal; /* of the event behind the last delivered one; PH_SENT: none */
    const char *cause;
    bool stopped;   /* the refusal was told */
    uint64_t owner; /* of the store, since resume; 0: never */
    size_t count, cap;
    struct flight flights[];
};

static void sink_close(void *ctx)
{
    struct memory_sink *s = ctx;
    if (s) {
        ph_memory_store_put(s->store);
        ph_checkpoint_kept_free(&s->answer);
        ph_mem_free(s);
    }
}

static int sink_open(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err)
{
    (void)config;
    assert(env && env->window_batches > 0 && ret_ctx);
    size_t cap = env->window_batches;
    struct memory_sink *s = ph_mem_zero(1, sizeof *s + cap * sizeof *s->flights);
    if (!s) {
        return ph_fail(err, PH_E_NOMEM, "memory sink: no memory");
    }
    s->cap = cap;
    s->refusal = PH_SENT;
    int rc = ph__store_find(env->uri, &s->store, err);
    if (rc < 0) {
        sink_close(s);
        return rc;
    }
    *ret_ctx = s;
    return 0;
}

static int sink_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct memory_sink *s = ctx;
    ph__store_lock(s->store);
    s->owner = ++s->store->owner;
    ph__store_unlock(s->store);
    int rc = ph_memory_store_checkpoint(s->store, &s->answer);
    if (rc < 0) {
        return ph_fail(err, rc, "memory sink: no memory");
    }
    if (rc == 1) {
        *ret = s->answer.cp;
    }
    return rc;
}

static int refuse_late(struct ph_error *err)
{
    return ph_fail(err, PH_E_FENCED, "memory sink: another instance has resumed");
}

static int sink_begin(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err)
{
    struct memory_sink *s = ctx;
    (void)anew;
    ph__store_lock(s->store);
    bool ours = s->owner == s->store->owner;
    int rc = ours ? ph_checkpoint_keep(&s->store->checkpoint, cp, NULL) : 0;
    ph__store_unlock(s->store);
    if (!ours) {
        return refuse_late(err);
    }
    return rc < 0 ? ph_fail(err, rc, "memory sink: no memory") : 0;
}

static struct ph_position sink_kept_at(void *ctx)
{
    struct memory_sink *s = ctx;
    return ph_memory_store_checkpoint(s->store, &s->answer) == 1 ? s->answer.cp.at
                                                                 : (struct ph_position){0};
}

/* Delivers the rest of one batch; 1 when all of it is delivered, 0 when an event was refused. */
static int deliver_batch(struct memory_sink *s, struct flight *flight, struct ph_error *err)
{
    struct ph_batch *batch = flight->batch;
    for (; flight->delivered < batch->count; flight->delivered++) {
        const struct ph_event *event = &batch->events[flight->delivered];
        if (event->verdict != PH_PENDING) {
            continue;
        }
        enum ph_verdict verdict = ph__store_verdict(s->store, event, &s->cause);
        if (verdict != PH_SENT) {
            s->refusal = verdict;
            return 0;
        }
        int rc = ph__store_add(s->store, batch, event, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 1;
}

static int deliver(struct memory_sink *s, struct ph_error *err)
{
    int rc = 1;
    if (s->owner != 0 && s->owner != s->store->owner) {
        return refuse_late(err);
    }
    for (size_t i = 0; rc == 1 && i < s->count && s->refusal == PH_SENT; i++) {
        rc = deliver_batch(s, &s->flights[i], err);
    }
    return rc < 0 ? rc : 0;
}

static int sink_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct memory_sink *s = ctx;
    assert(batch && s->count < s->cap);
    ph__store_lock(s->store);
    s->flights[s->count++] = (struct flight){
        .batch = batch, .generation = batch->generation, .polls_left = s->store->delay};
    int rc = ph__store_call(s->store, err);
    if (rc == 0) {
        rc = deliver(s, err);
    }
    ph__store_unlock(s->store);
    return rc;
}

/* Gives up to max verdicts of one batch; how many there were. */
static size_t judge_batch(struct memory_sink *s, struct flight *flight, size_t max)
{
    struct ph_batch *batch = flight->batch;
    size_t given = 0;
    assert(batch->generation == flight->generation);
    for (; flight->judged < flight->delivered && given < max; flight->judged++) {
        struct ph_event *event = &batch->events[flight->judged];
        if (event->verdict == PH_PENDING) {
            ph_batch_verdict(batch, event, PH_SENT, NULL);
            given++;
        }
    }
    bool refused = s->refusal != PH_SENT && flight->delivered < batch->count;
    if (refused && flight->judged == flight->delivered && given < max) {
        ph_batch_verdict(batch, &batch->events[flight->judged], s->refusal, s->cause);
        s->stopped = true;
        given++;
    }
    return given;
}

/* Forgets the batches at the front that have all verdicts. */
static void drop_done(struct memory_sink *s)
{
    size_t done = 0;
    while (done < s->count && ph_batch_judged(s->flights[done].batch)) {
        done++;
    }
    s->count -= done;
    if (done > 0 && s->count > 0) {
        memmove(s->flights, s->flights + done, s->count * sizeof *s->flights);
    }
}

static size_t judge(struct memory_sink *s)
{
    size_t left = s->store->pace ? s->store->pace : SIZE_MAX, given = 0;
    bool waiting = false; /* one before has not come to its poll yet */
    for (size_t i = 0; i < s->count; i++) {
        struct flight *flight = &s->flights[i];
        waiting |= flight->polls_left > 0;
        flight->polls_left -= flight->polls_left > 0;
        if (!waiting && !s->stopped && given < left) {
            given += judge_batch(s, flight, left - given);
            waiting = flight->judged < flight->batch->count;
        }
    }
    drop_done(s);
    return given;
}

static int sink_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct memory_sink *s = ctx;
    ph__store_lock(s->store);
    int rc = ph__store_call(s->store, err);
    if (rc == 0) {
        rc = deliver(s, err);
    }
    size_t given = rc == 0 ? judge(s) : 0;
    ph__store_unlock(s->store);
    if (rc == 0 && given == 0 && s->count > 0 && timeout_ms > 0) {
        (void)ph_stop_wait(NULL, 1);
    }
    return rc;
}

static int sink_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static void sink_abandon(void *ctx)
{
    struct memory_sink *s = ctx;
    s->count = 0;
    s->refusal = PH_SENT;
    s->cause = NULL;
    s->stopped = false;
}

static bool wanted(struct ph_str topic, const struct ph_str *topics, size_t topic_count)
{
    for (size_t i = 0; i < topic_count; i++) {
        if (ph_str_eq(topic, topics[i])) {
            return true;
        }
    }
    return topic_count == 0;
}

static int sink_scan(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                     size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                     void *arg, struct ph_error *err)
{
    (void)config;
    struct ph_memory_store *store;
    int rc = ph__store_find(env->uri, &store, err);
    if (rc < 0) {
        return rc;
    }
    size_t count = ph_memory_store_count(store);
    struct ph_memory_record kept;
    for (size_t i = 0; rc == 0 && i < count && ph_memory_store_record(store, i, &kept); i++) {
        if (wanted(kept.topic, topics, topic_count)) {
            struct ph_record record = {.id = kept.id, .at = kept.at, .key = kept.key};
            rc = each(arg, &record);
        }
    }
    ph_memory_store_put(store);
    return rc;
}

static const struct ph_option memory_options[] = {PH_OPTION_END};

const struct ph_sink_driver ph_sink_memory = {
    .name = "memory",
    .summary = "a store inside the program, for tests and simulation: memory:NAME",
    .options = memory_options,
    .caps = PH_SINK_RECORDS | PH_SINK_CHECKPOINT,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = sink_open,
    .resume = sink_resume,
    .begin = sink_begin,
    .kept_at = sink_kept_at,
    .submit = sink_submit,
    .poll = sink_poll,
    .fd = sink_fd,
    .abandon = sink_abandon,
    .close = sink_close,
    .scan = sink_scan,
};
