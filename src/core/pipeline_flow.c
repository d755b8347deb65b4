/*
 * The loop: fill, feed, poll, settle, save, wait. Each turn moves every part as far as it goes
 * without waiting; one poll() on the source's and the sink's descriptors is the only wait. Promise:
 * settled moves over SENT events without a gap only, and only what settled covers is stored.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "core/pipeline_parts.h"

#define WAIT_MAX_MS 100

static void recycle(struct ph_pipeline *p, struct ph_batch *batch)
{
    ph_batch_reset(batch);
    ph_batch_queue_put(&p->free, batch);
}

/* Reads as long as there is room. The next read is asked for before the present batch is delivered.
 * 1 when a batch came. */
static int fill(struct ph_pipeline *p, struct ph_error *err)
{
    int came = 0;
    while (!p->refusal.set) {
        if (!p->filling) {
            p->filling = ph_batch_queue_take(&p->free);
        }
        if (!p->filling) {
            break;
        }
        int rc = p->config->source->fetch(p->source, p->filling, err);
        if (rc < 0) {
            return rc;
        }
        if (rc == PH_FETCH_NOTHING) {
            break;
        }
        ph_batch_queue_put(&p->ready, p->filling);
        p->filling = NULL;
        came = 1;
    }
    return came;
}

static void refuse(struct ph_pipeline *p, const struct ph_event *event)
{
    p->refusal.set = true;
    p->refusal.at = ph_event_at(event);
    p->refusal.id = event->id;
    p->refusal.verdict = event->verdict;
    (void)snprintf(p->refusal.cause, sizeof p->refusal.cause, "%s",
                   event->cause ? event->cause : "no cause given");
}

/* Cuts a batch off at an event that was refused before it was submitted: the rest is delivered,
 * then the pipeline stops. */
static void cut_at(struct ph_pipeline *p, struct ph_batch *batch, const struct ph_event *event)
{
    refuse(p, event);
    batch->count = (size_t)(event - batch->events);
    batch->refused = 0;
    batch->has_end = event->passed_span != NULL;
    if (batch->has_end) {
        batch->end = ph_event_checkpoint(event->passed_span, event->passed_position);
    }
}

static int match(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    if (!ph_match_wanted(p->config->match)) {
        return 0;
    }
    int passed = ph_match_batch(p->config->match, batch, err);
    p->metrics.events_passed_over += passed > 0 ? passed : 0;
    return passed < 0 ? passed : 0;
}

/* Matches and routes a batch. The source may have refused a row already, and the route may refuse
 * an event. */
static int route(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    int rc = match(p, batch, err);
    if (rc < 0) {
        return rc;
    }
    if (batch->refused > 0) {
        cut_at(p, batch, ph_batch_refused(batch));
    }
    if (!(p->config->sink->caps & PH_SINK_RECORDS)) {
        return 0;
    }
    int routed = ph_route_batch(p->route, batch, err);
    if (routed < 0) {
        return routed;
    }
    if ((size_t)routed < batch->count) {
        cut_at(p, batch, &batch->events[routed]);
    }
    return 0;
}

static int sink_failed(struct ph_pipeline *p, int rc, struct ph_error *err)
{
    if (rc != PH_E_UNAVAILABLE && rc != PH_E_IO) {
        return rc;
    }
    if (rc == PH_E_IO && p->config->once && (p->config->sink->caps & PH_SINK_WATCHED)) {
        p->sink_hopeless = true;
        return rc;
    }
    if (!p->sink_down) {
        p->sink_down = true;
        p->metrics.sink_downs++;
        ph_log(PH_LOG_WARN, p->config->name, "the sink is down, going on when it is back: %s",
               err->text);
        ph_lease_report(p->lease, err->text);
    }
    p->sink_due_us = ph_clock_mono_us() + ph_backoff_next(&p->sink_backoff) * 1000;
    ph_error_clear(err);
    return 0;
}

static void sink_works(struct ph_pipeline *p)
{
    if (p->sink_down) {
        p->sink_down = false;
        ph_backoff_reset(&p->sink_backoff);
        ph_log(PH_LOG_INFO, p->config->name, "the sink is back");
    }
}

/* Nothing new goes to a sink that is down. When it holds nothing of ours, submitting is the only
 * way to ask whether it is back. */
static bool may_submit(const struct ph_pipeline *p)
{
    return !p->sink_down || (!p->flight.head && ph_clock_mono_us() >= p->sink_due_us);
}

/* Submits what is ready while the window has room. 1 when something was submitted. */
static int feed(struct ph_pipeline *p, struct ph_error *err)
{
    int fed = 0;
    while (p->ready.head && p->flight.count < (size_t)p->options->window && may_submit(p) &&
           !p->refusal.set) {
        struct ph_batch *batch = ph_batch_queue_take(&p->ready);
        ph_batch_queue_put(&p->flight, batch);
        int rc = route(p, batch, err);
        if (rc < 0) {
            return rc;
        }
        fed = 1;
        if (batch->count == 0) {
            continue;
        }
        rc = p->config->sink->submit(p->sink, batch, err);
        if (rc < 0) {
            rc = sink_failed(p, rc, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return fed;
}

static int poll_sink(struct ph_pipeline *p, int timeout_ms, struct ph_error *err)
{
    if (!p->flight.head || (p->sink_down && ph_clock_mono_us() < p->sink_due_us)) {
        return 0;
    }
    int rc = p->config->sink->poll(p->sink, timeout_ms, err);
    if (rc < 0) {
        return sink_failed(p, rc, err);
    }
    sink_works(p);
    return 0;
}

static int settle_at(struct ph_pipeline *p, struct ph_checkpoint cp, struct ph_error *err)
{
    cp.start_snapshot = ph_str_from(p->start_snapshot);
    cp.timeline = p->settled.cp.timeline;
    cp.epoch = p->epoch;
    p->dirty = true;
    return ph_checkpoint_keep(&p->settled, &cp, err);
}

/* The checkpoint behind the settled part of a batch, and behind what match passed over there: only
 * then is an event that is refused next the one that start=after can skip. */
static int settle_inside(struct ph_pipeline *p, const struct ph_batch *batch, struct ph_error *err)
{
    const struct ph_event *next =
        batch->prefix < batch->count ? &batch->events[batch->prefix] : NULL;
    const struct ph_event *last = batch->prefix > 0 ? &batch->events[batch->prefix - 1] : NULL;
    struct ph_checkpoint cp;
    if (next && next->passed_span) {
        cp = ph_event_checkpoint(next->passed_span, next->passed_position);
    } else if (last) {
        cp = ph_event_checkpoint(last->span, last->position);
    } else {
        return 0;
    }
    return ph_position_cmp(cp.at, p->settled.cp.at) <= 0 ? 0 /* known already */
                                                         : settle_at(p, cp, err);
}

static void check_refused(struct ph_pipeline *p)
{
    for (struct ph_batch *batch = p->flight.head; batch && !p->refusal.set; batch = batch->next) {
        const struct ph_event *event = batch->refused > 0 ? ph_batch_refused(batch) : NULL;
        if (event) {
            refuse(p, event);
        }
    }
}

/* Moves settled over what the sink has confirmed, in order. 1 when it moved. */
static int settle(struct ph_pipeline *p, struct ph_error *err)
{
    int moved = 0;
    check_refused(p);
    while (p->flight.head) {
        struct ph_batch *batch = p->flight.head;
        size_t before = batch->prefix;
        moved |= ph_batch_settle(batch);
        p->metrics.events_sent += (int64_t)(batch->prefix - before);
        bool due = ph_clock_mono_us() >= p->settle_due_us;
        int rc = 0;
        if (!ph_batch_done(batch)) {
            if (due || p->refusal.set) {
                rc = settle_inside(p, batch, err);
            }
            return rc < 0 ? rc : moved;
        }
        rc = batch->has_end ? settle_at(p, batch->end, err) : settle_inside(p, batch, err);
        if (rc < 0) {
            return rc;
        }
        p->metrics.batches++;
        moved = 1;
        recycle(p, ph_batch_queue_take(&p->flight));
    }
    return moved;
}

/* Stores the checkpoint when one is due. */
static int save(struct ph_pipeline *p, struct ph_error *err)
{
    const struct ph_source_driver *source = p->config->source;
    int idle = source->settled(p->source, 0, err);
    if (idle <= 0 || !p->dirty || ph_clock_mono_us() < p->settle_due_us) {
        return idle < 0 ? idle : 0;
    }
    int taken = source->settle(p->source, &p->settled.cp, err);
    if (taken == 1) {
        p->dirty = false;
        p->metrics.checkpoints++;
        p->settle_due_us = ph_clock_mono_us() + p->options->settle_interval_ms * 1000;
    }
    return taken < 0 ? taken : 0;
}

int ph__flow_save_now(struct ph_pipeline *p, struct ph_error *err)
{
    const struct ph_source_driver *source = p->config->source;
    for (int tries = 0; tries < 2; tries++) {
        int rc = source->settled(p->source, (int)p->options->drain_timeout_ms + 1000, err);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            return ph_fail(err, PH_E_UNAVAILABLE, "the checkpoint could not be stored in time");
        }
        if (!p->dirty) {
            return 0;
        }
        rc = source->settle(p->source, &p->settled.cp, err);
        if (rc < 0) {
            return rc;
        }
        p->dirty = rc != 1;
    }
    return 0;
}

static int wait_ms(const struct ph_pipeline *p)
{
    int64_t now = ph_clock_mono_us();
    int64_t until = now + WAIT_MAX_MS * 1000;
    if (p->filling) {
        int64_t due = p->config->source->due_us(p->source);
        until = due < until ? due : until;
    }
    if (p->dirty &&
        p->settle_due_us < until) { /* one may be under way beyond its time: look every ms */
        until = p->settle_due_us > now + 1000 ? p->settle_due_us : now + 1000;
    }
    if ((p->flight.head || p->ready.head) && p->sink_down && p->sink_due_us < until) {
        until = p->sink_due_us;
    }
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

static void wait_for_more(struct ph_pipeline *p)
{
    int sink_fd = p->flight.head ? p->config->sink->fd(p->sink) : -1;
    struct pollfd fds[3] = {
        {.fd = p->filling ? p->config->source->fd(p->source) : -1, .events = POLLIN},
        {.fd = sink_fd, .events = POLLIN},
        {.fd = p->stop->fd, .events = POLLIN},
    };
    int timeout = wait_ms(p);
    if (p->flight.head && sink_fd < 0 && !p->sink_down && timeout > 2) {
        timeout = 2; /* a sink without a descriptor is asked again soon */
    }
    (void)ph_sys.poll(fds, 3, timeout);
    if (fds[1].revents != 0) {
        p->sink_due_us = 0; /* a sink that was down has something to say */
    }
}

static bool drained(const struct ph_pipeline *p)
{
    return !p->flight.head && !p->ready.head && p->config->source->at_end(p->source);
}

static int fail_refused(struct ph_pipeline *p, struct ph_error *err)
{
    char id[PH_UUID_TEXT_LEN + 1];
    ph_uuid_format(&p->refusal.id, id);
    return ph_fail(err, PH_E_REFUSED,
                   "event %s at %lld-%lld was %s: %s. The pipeline stops here so that the order of "
                   "its key is kept. Mend the cause and start "
                   "again, or skip exactly this event: posthorn run --set start=after:%lld-%lld",
                   id, (long long)p->refusal.at.tick, (long long)p->refusal.at.position,
                   p->refusal.verdict == PH_RETRY ? "not delivered" : "refused", p->refusal.cause,
                   (long long)p->refusal.at.tick, (long long)p->refusal.at.position);
}

/* One turn: 1 when something moved, 0 when not, or an error. */
static int turn(struct ph_pipeline *p, struct ph_error *err)
{
    int filled = fill(p, err);
    if (filled < 0) {
        return filled;
    }
    int fed = feed(p, err);
    if (fed < 0) {
        return fed;
    }
    int rc = poll_sink(p, 0, err);
    if (rc < 0) {
        return rc;
    }
    int moved = settle(p, err);
    if (moved < 0) {
        return moved;
    }
    rc = save(p, err);
    return rc < 0 ? rc : filled | fed | moved;
}

/* The refused event is reached: all before it is settled, or the sink will say no more. */
static bool refusal_reached(const struct ph_pipeline *p)
{
    if (!p->refusal.set) {
        return false;
    }
    for (const struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        if (batch->refused > 0) {
            return true;
        }
    }
    return !p->flight.head;
}

static int check_lease(struct ph_pipeline *p, struct ph_error *err)
{
    if (ph_lease_epoch(p->lease) != p->epoch) {
        return ph_fail(err, PH_E_FENCED, "the lease of pipeline %s was lost", p->config->name);
    }
    return 0;
}

/* Ends the pipeline once everything before the refused event is stored: only then is it the one
 * that start=after can skip. When that fails, a next session comes to it again. */
static int stop_at_refusal(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = check_lease(p, err);
    if (rc == 0) {
        rc = ph__flow_save_now(p, err);
    }
    return rc < 0 ? rc : fail_refused(p, err);
}

int ph__flow_run(struct ph_pipeline *p, struct ph_error *err)
{
    for (;;) {
        if (ph_stop_wanted(p->stop)) {
            return ph_fail(err, PH_E_STOPPED, "asked to stop");
        }
        int rc = check_lease(p, err);
        if (rc < 0) {
            return rc;
        }
        int moved = turn(p, err);
        if (moved < 0) {
            return moved;
        }
        if (refusal_reached(p)) {
            return stop_at_refusal(p, err);
        }
        if (moved == 0 && p->config->once && drained(p)) {
            return ph__flow_save_now(p, err);
        }
        if (moved == 0) {
            wait_for_more(p);
        }
    }
}

static void take_back(struct ph_pipeline *p, struct ph_batch_queue *queue)
{
    while (queue->head) {
        recycle(p, ph_batch_queue_take(queue));
    }
}

/* Gives what is in flight its time. */
static void finish_flight(struct ph_pipeline *p, int64_t timeout_ms)
{
    struct ph_error err = {0};
    int64_t deadline_us = ph_clock_mono_us() + timeout_ms * 1000;
    while (p->sink && p->flight.head && ph_clock_mono_us() < deadline_us &&
           p->flight.head->refused == 0) {
        if (poll_sink(p, 20, &err) < 0 || settle(p, &err) < 0) {
            break;
        }
        if (p->sink_down) {
            (void)ph_sys.poll(NULL, 0, 20);
        }
    }
}

/* Stores what was settled, while the pipeline is ours. */
static void store_last(struct ph_pipeline *p)
{
    struct ph_error err = {0};
    p->settle_due_us = 0; /* what was sent is settled to the last event */
    if (settle(p, &err) < 0) {
        ph_log(PH_LOG_WARN, p->config->name, "some events will be sent again: %s", err.text);
    }
    if (p->source && p->epoch != 0 && p->epoch == ph_lease_epoch(p->lease) &&
        ph__flow_save_now(p, &err) < 0) {
        ph_log(PH_LOG_WARN, p->config->name,
               "the last checkpoint was not stored, some events will be sent again: %s", err.text);
    }
}

void ph__flow_drain(struct ph_pipeline *p, int64_t timeout_ms)
{
    finish_flight(p, timeout_ms);
    store_last(p);
    if (p->sink && p->flight.head) {
        p->config->sink->abandon(p->sink);
    }
    take_back(p, &p->flight);
    take_back(p, &p->ready);
    if (p->filling) {
        recycle(p, p->filling);
        p->filling = NULL;
    }
    p->refusal = (struct ph_refusal){0}; /* a next session comes to that event again */
}
