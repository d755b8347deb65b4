/*
 * Batches: room for events, the arena they live in, and the count of what became of them. Filled by
 * a source, routed, handed to a sink, settled by the pipeline, used again.
 * Promise: an event gets one verdict; the prefix never passes an event that was not sent.
 */
#include "core/batch.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/sys.h"

#define KEEP_BYTES_MAX ((size_t)2 << 20) /* of the arena, for the next use */
#define CAUSE_LEN_MAX  ((size_t)PH_ERROR_TEXT_MAX - 1)

/* One count for the whole program, so that a batch at the address of a freed one differs from it.
 */
static uint64_t next_generation(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

struct ph_batch *ph_batch_new(size_t cap, size_t bytes_max)
{
    assert(cap > 0);
    struct ph_batch *batch = ph_mem_zero(1, sizeof *batch);
    size_t size;
    if (!batch || __builtin_mul_overflow(cap, sizeof *batch->events, &size)) {
        ph_mem_free(batch);
        return NULL;
    }
    batch->events = ph_mem_alloc(size);
    if (!batch->events) {
        ph_mem_free(batch);
        return NULL;
    }
    ph_arena_init(&batch->arena, bytes_max);
    batch->cap = cap;
    batch->generation = next_generation();
    return batch;
}

void ph_batch_free(struct ph_batch *batch)
{
    if (batch) {
        ph_arena_free(&batch->arena);
        ph_mem_free(batch->events);
        ph_mem_free(batch);
    }
}

void ph_batch_reset(struct ph_batch *batch)
{
    assert(batch);
    ph_arena_reset(&batch->arena, KEEP_BYTES_MAX);
    batch->count = 0;
    batch->bytes = 0;
    batch->judged = 0;
    batch->settled = 0;
    batch->parked = 0;
    batch->refused = 0;
    batch->owing = 0;
    batch->prefix = 0;
    batch->routed = false;
    batch->submitted = false;
    batch->due = false;
    batch->has_end = false;
    batch->end = (struct ph_checkpoint){0};
    batch->generation = next_generation();
    batch->next = NULL;
}

struct ph_event *ph_batch_add(struct ph_batch *batch)
{
    assert(batch && batch->count <= batch->cap);
    if (batch->count == batch->cap) {
        return NULL;
    }
    struct ph_event *event = &batch->events[batch->count++];
    *event = (struct ph_event){0};
    return event;
}

/* A copy of the cause in the arena; when it has no room, a text that says so. */
static const char *copy_cause(struct ph_batch *batch, const char *cause)
{
    const char *copy = ph_arena_copy(&batch->arena, cause, strnlen(cause, CAUSE_LEN_MAX));
    return copy ? copy : "no memory left to keep the cause";
}

void ph_batch_verdict(struct ph_batch *batch, struct ph_event *event, enum ph_verdict verdict,
                      const char *cause)
{
    assert(event >= batch->events && event < batch->events + batch->count);
    assert(event->verdict == PH_PENDING);
    event->verdict = (uint8_t)verdict;
    batch->judged += verdict != PH_PENDING;
    if (__builtin_expect(verdict == PH_SENT, 1)) {
        batch->settled++;
        return;
    }
    batch->refused += verdict != PH_PENDING;
    event->cause = cause ? copy_cause(batch, cause) : NULL;
}

static bool is_settled(const struct ph_event *event)
{
    return event->verdict == PH_SENT || event->verdict == PH_PARKED;
}

bool ph_batch_settle(struct ph_batch *batch)
{
    assert(batch && batch->prefix <= batch->count);
    size_t prefix = batch->prefix;
    while (prefix < batch->count && is_settled(&batch->events[prefix])) {
        prefix++;
    }
    bool moved = prefix != batch->prefix;
    batch->prefix = prefix;
    return moved;
}

static bool is_refused(const struct ph_event *event)
{
    return event->verdict == PH_RETRY || event->verdict == PH_REJECT;
}

void ph_batch_owe(struct ph_batch *batch, struct ph_event *event)
{
    batch->owing += !event->owes;
    event->owes = true;
}

void ph_batch_leave(struct ph_batch *batch, struct ph_event *event, enum ph_leave leaves)
{
    assert(event->verdict == PH_PENDING || is_refused(event));
    batch->refused -= is_refused(event);
    batch->judged += event->verdict == PH_PENDING;
    event->verdict = PH_HELD;
    event->leaves = (uint8_t)leaves;
    ph_batch_owe(batch, event);
}

static void settle_parked(struct ph_batch *batch, struct ph_event *event)
{
    event->verdict = PH_PARKED;
    batch->settled++;
    batch->parked++;
}

void ph_batch_told(struct ph_batch *batch, struct ph_event *event)
{
    assert(event->owes && batch->owing > 0);
    event->owes = event->telling = false;
    batch->owing--;
    if (event->verdict == PH_HELD) {
        settle_parked(batch, event);
    }
}

void ph_batch_return(struct ph_batch *batch, struct ph_event *event)
{
    assert(event->verdict == PH_PENDING);
    batch->judged++;
    batch->owing -= event->owes;
    event->owes = false;
    settle_parked(batch, event);
}

void ph_batch_unjudge(struct ph_batch *batch, struct ph_event *event)
{
    assert(is_refused(event));
    event->verdict = PH_PENDING;
    batch->refused--;
    batch->judged--;
}
