/*
 * Telling the source what became of events outside the order of its log: rows for those that left
 * the flow, the outcome of those that came back, gaps that consumers have been told of. One list of
 * changes is under way at a time, in the order of the flow.
 * Promise: an event that left the flow counts as settled only once its row is stored.
 */
#include <assert.h>

#include "base/clock.h"
#include "core/pipeline_parts.h"

static bool is_failure(const struct ph_event *event)
{
    return event->leaves == PH_LEAVES_RETRY || event->leaves == PH_LEAVES_DEAD ||
           event->leaves == PH_LEAVES_PASSED;
}

/* --- changes ---------------------------------------------------------------------------------- */

static enum ph_park_state state_of(const struct ph_event *event)
{
    switch ((enum ph_leave)event->leaves) {
    case PH_LEAVES_DEAD:
    case PH_LEAVES_PASSED:
        return PH_PARK_DEAD;
    case PH_LEAVES_SCHEDULED:
        return PH_PARK_SCHEDULED;
    case PH_STAYS:
    case PH_LEAVES_RETRY:
    case PH_LEAVES_BEHIND:
        break;
    }
    return PH_PARK_PARKED;
}

/* Until the next attempt, by retry.*: the more attempts, the longer, at random below that. */
static int64_t wait_of(const struct ph_pipeline *p, int attempts)
{
    struct ph_backoff backoff = {.initial_ms = p->config->retry.initial_ms,
                                 .max_ms = p->config->retry.max_ms,
                                 .multiplier = p->config->retry.multiplier,
                                 .attempt = (unsigned)(attempts - 1)};
    return ph_backoff_next(&backoff);
}

/* What the source must do for an event that left the flow. */
static struct ph_park_change change_of(const struct ph_pipeline *p, const struct ph_event *event)
{
    struct ph_park_change change = {
        .act = !event->park                        ? PH_PARK_PUT
               : event->leaves == PH_LEAVES_BEHIND ? PH_PARK_QUEUE
                                                   : PH_PARK_FAILED,
        .state = state_of(event),
        .at = ph_event_at(event),
        .key = event->order_key,
        .attempts = event->park ? event->park->attempts : 0,
        .wait_ms = -1,
        .passed = event->leaves == PH_LEAVES_PASSED || (event->park && event->park->passed),
        .error = is_failure(event) ? ph_str_from(event->cause) : (struct ph_str){NULL, 0},
    };
    change.attempts += is_failure(event);
    if (event->leaves == PH_LEAVES_RETRY) {
        change.wait_ms = wait_of(p, change.attempts);
    }
    return change;
}

/* Adds the changes of one event; at most two. */
static size_t add_changes(const struct ph_pipeline *p, const struct ph_event *event,
                          struct ph_park_change *out)
{
    size_t count = 0;
    if (event->verdict == PH_HELD) {
        out[count++] = change_of(p, event);
    } else if (event->park) {
        out[count++] =
            (struct ph_park_change){.act = PH_PARK_SENT, .at = ph_event_at(event), .wait_ms = -1};
    }
    if (event->verdict == PH_SENT && event->gap) {
        out[count++] =
            (struct ph_park_change){.act = PH_PARK_TOLD, .at = event->gap->at, .wait_ms = -1};
    }
    return count;
}

/* Walks the events of which the source must be told now, in the order of the flow, until each
 * returns false. */
static void walk_owing(struct ph_pipeline *p,
                       bool (*each)(struct ph_pipeline *p, struct ph_batch *batch,
                                    struct ph_event *event, void *arg),
                       void *arg)
{
    for (struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        size_t left = batch->owing;
        for (size_t i = 0; i < batch->count && left > 0; i++) {
            struct ph_event *event = &batch->events[i];
            if (!event->owes) {
                continue;
            }
            left--;
            bool ready = event->verdict == PH_HELD || event->verdict == PH_SENT;
            if (ready && !each(p, batch, event, arg)) {
                return;
            }
        }
    }
}

static bool collect(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                    void *arg)
{
    (void)batch;
    size_t *count = arg;
    *count += add_changes(p, event, p->parking.changes + *count);
    event->telling = true;
    return *count + 2 <= PH_PARK_CHANGES_MAX;
}

static bool take_back(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                      void *arg)
{
    (void)p;
    (void)batch;
    (void)arg;
    event->telling = false;
    return true;
}

/* --- what was stored -------------------------------------------------------------------------- */

/* A row that was due is stored with its outcome. */
static void count_back(struct ph_park_totals *totals, const struct ph_event *event)
{
    bool was_scheduled = event->park->state == PH_PARK_SCHEDULED;
    totals->scheduled -= was_scheduled;
    totals->parked -= !was_scheduled;
    if (event->verdict == PH_HELD) {
        totals->dead += state_of(event) == PH_PARK_DEAD;
        totals->parked += state_of(event) == PH_PARK_PARKED;
    }
}

static void count_out(struct ph_pipeline *p, const struct ph_event *event)
{
    struct ph_park_totals *totals = &p->parking.totals;
    p->metrics.events_parked++;
    switch (state_of(event)) {
    case PH_PARK_PARKED:
        totals->parked++;
        break;
    case PH_PARK_DEAD:
        totals->dead++;
        break;
    case PH_PARK_SCHEDULED:
        totals->scheduled++;
        break;
    }
}

/* A row that was due was sent and is gone. */
static void row_gone(struct ph_pipeline *p, const struct ph_event *event)
{
    if (event->park->state != PH_PARK_SCHEDULED) {
        ph_hold_take(&p->parking.hold, event->order_key);
    }
    if (ph__keeps_checkpoint(p) && p->config->sink->row_gone) {
        struct ph_position at = ph_event_at(event);
        p->config->sink->row_gone(p->sink, &at);
    }
}

static bool note(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event, void *arg)
{
    (void)arg;
    if (!event->telling) {
        return true;
    }
    if (event->park) {
        count_back(&p->parking.totals, event);
    } else if (event->verdict == PH_HELD) {
        count_out(p, event);
    }
    if (event->park && event->verdict == PH_SENT) {
        row_gone(p, event);
    }
    p->parking.leaving -= event->verdict == PH_HELD;
    p->parking.failed -= event->verdict == PH_HELD && is_failure(event);
    ph_batch_told(batch, event);
    return true;
}

int ph__told_settled(struct ph_pipeline *p, int timeout_ms, struct ph_error *err)
{
    int rc = p->config->source->settled(p->source, timeout_ms, err);
    if (rc < 0) { /* perhaps it is stored, but nobody said so */
        p->parking.telling = false;
        walk_owing(p, take_back, NULL);
    }
    if (rc == 1 && p->parking.telling) {
        p->parking.telling = false;
        walk_owing(p, note, NULL);
        p->parking.due_us = 0; /* the next of a key may be due, or a row may be soon */
        p->parking.nothing_due = false;
    }
    return rc;
}

static bool see(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event, void *arg)
{
    (void)p;
    (void)batch;
    (void)event;
    *(bool *)arg = true;
    return false;
}

bool ph__told_wanted(struct ph_pipeline *p)
{
    bool wanted = false;
    walk_owing(p, see, &wanted);
    return wanted;
}

int ph__told_begin(struct ph_pipeline *p, struct ph_error *err)
{
    if (p->parking.telling) {
        return 0;
    }
    size_t count = 0;
    walk_owing(p, collect, &count);
    if (count == 0) {
        return 0;
    }
    int rc = p->config->source->park(p->source, p->epoch, p->parking.changes, count, err);
    if (rc == 1) {
        p->parking.telling = true;
    } else {
        walk_owing(p, take_back, NULL);
    }
    return rc;
}
