/*
 * The loop: fill, feed, hear, tell, wait. Each turn moves every part as far as it goes
 * without waiting; one poll() on the source's and the sink's descriptors is the only wait. Promise:
 * settled moves over SENT and PARKED events without a gap only, and only what settled covers is
 * stored.
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
    if (batch == p->parking.batch) {
        p->parking.in_flight = false;
    } else {
        ph_batch_queue_put(&p->free, batch);
    }
}

/* Reads as long as there is room. The next read is asked for before the present batch is delivered.
 * 1 when a batch came. */
static int fill(struct ph_pipeline *p, struct ph_error *err)
{
    int came = 0;
    for (;;) {
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

static int match(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    if (batch->due || !ph_match_wanted(p->config->match)) {
        return 0;
    }
    int passed = ph_match_batch(p->config->match, batch, err);
    p->metrics.events_passed_over += passed > 0 ? passed : 0;
    return passed < 0 ? passed : 0;
}

/* Without records the aggregate_id is all that there is of a key. */
static void name_keys(struct ph_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        batch->events[i].order_key = batch->events[i].aggregate_id;
    }
}

int ph__flow_route(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    if (batch->routed) {
        return 0;
    }
    int rc = match(p, batch, err);
    if (rc == 0 && (p->config->sink->caps & PH_SINK_RECORDS)) {
        rc = ph_route_batch(p->route, batch, err);
    } else if (rc == 0) {
        name_keys(batch);
    }
    batch->routed = rc >= 0;
    return rc < 0 ? rc : 0;
}

int ph__flow_sink_failed(struct ph_pipeline *p, int rc, struct ph_error *err)
{
    if (rc != PH_E_UNAVAILABLE && rc != PH_E_IO) {
        return rc;
    }
    if (rc == PH_E_IO && p->config->once && (p->config->sink->caps & PH_SINK_WATCHED)) {
        p->sink_hopeless = true;
        return rc;
    }
    if (ph_breaker_failed(&p->breaker)) {
        p->metrics.sink_downs++;
        ph_log(PH_LOG_WARN, p->config->name, "the sink is down, going on when it is back: %s",
               err->text);
        ph_lease_report(p->lease, err->text);
    }
    ph_error_clear(err);
    return 0;
}

static void sink_works(struct ph_pipeline *p)
{
    if (ph_breaker_worked(&p->breaker)) {
        ph_log(PH_LOG_INFO, p->config->name, "the sink is back");
    }
}

/* Whether the sink holds events of ours: polling it asks whether it is back. */
static bool sink_has_some(const struct ph_pipeline *p)
{
    return p->flight.head && p->flight.head->submitted;
}

/* Nothing new goes to a sink that is down. When it holds nothing of ours, submitting one batch is
 * the only way to ask whether it is back. Nor does anything go while the row of an event that
 * failed is not stored, while a person has paused the pipeline, or faster than the rate. A sink
 * that keeps the checkpoint must not pass any event that left the flow. */
static bool may_submit(struct ph_pipeline *p)
{
    if (p->parking.failed > 0 || p->paused || (ph__keeps_checkpoint(p) && p->parking.leaving > 0)) {
        return false;
    }
    if (p->options->rate > 0 && ph_clock_mono_us() < p->rate_due_us) {
        return false;
    }
    return p->breaker.state == PH_BREAKER_CLOSED ||
           (!sink_has_some(p) && ph_breaker_allows(&p->breaker));
}

/* Each event moves the time of the next batch, so that over any while the rate is kept. */
static void count_rate(struct ph_pipeline *p, const struct ph_batch *batch)
{
    if (p->options->rate > 0) {
        int64_t now = ph_clock_mono_us();
        int64_t from = p->rate_due_us > now ? p->rate_due_us : now;
        p->rate_due_us = from + (int64_t)batch->count * 1000000 / p->options->rate;
    }
}

/* Hands over what the sink does not have, in order. 1 when there was some. */
static int submit(struct ph_pipeline *p, struct ph_error *err)
{
    int submitted = 0;
    for (struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        if (batch->submitted) {
            continue;
        }
        bool empty = ph_batch_judged(batch);
        if (!empty && !may_submit(p)) {
            break;
        }
        batch->submitted = true;
        submitted = 1;
        if (empty) {
            continue;
        }
        count_rate(p, batch);
        int rc = p->config->sink->submit(p->sink, batch, err);
        if (rc < 0) {
            rc = ph__flow_sink_failed(p, rc, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return submitted;
}

/* Puts the next batch into the flow, without what may not be submitted. 1 when there was one, 0
 * when it must wait. */
static int advance(struct ph_pipeline *p, struct ph_error *err)
{
    struct ph_batch *batch = p->ready.head;
    if (p->parking.stop || !ph__park_has_room(p, batch)) {
        return 0;
    }
    int rc = ph__flow_route(p, batch, err);
    if (rc < 0) {
        return rc;
    }
    rc = ph__park_screen(p, batch, err);
    if (rc < 0) {
        return rc;
    }
    ph_batch_queue_put(&p->flight, ph_batch_queue_take(&p->ready));
    return 1;
}

/* Submits what is ready while the window has room. 1 when something moved. */
static int feed(struct ph_pipeline *p, struct ph_error *err)
{
    int fed = submit(p, err);
    while (fed >= 0 && p->ready.head && p->flight.count < p->window && may_submit(p)) {
        int rc = advance(p, err);
        if (rc <= 0) {
            return rc < 0 ? rc : fed;
        }
        rc = submit(p, err);
        fed = rc < 0 ? rc : 1;
    }
    return fed;
}

static int poll_sink(struct ph_pipeline *p, int timeout_ms, struct ph_error *err)
{
    if (!sink_has_some(p) || !ph_breaker_allows(&p->breaker)) {
        return 0;
    }
    int rc = p->config->sink->poll(p->sink, timeout_ms, err);
    if (rc < 0) {
        return ph__flow_sink_failed(p, rc, err);
    }
    sink_works(p);
    return 0;
}

static int settle_at(struct ph_pipeline *p, struct ph_checkpoint cp, struct ph_error *err)
{
    cp.start_snapshot = ph_str_from(p->start_snapshot);
    cp.log = ph_str_from(p->log);
    cp.timeline = p->settled.cp.timeline;
    if (ph__keeps_checkpoint(p)) {
        cp.in_sink = PH_SINK_HOLDS;
        cp.sink_at = p->config->sink->kept_at(p->sink);
    }
    cp.epoch = p->epoch;
    p->dirty = true;
    return ph_checkpoint_keep(&p->settled, &cp, err);
}

/* The checkpoint behind the settled part of a batch. */
static int settle_inside(struct ph_pipeline *p, const struct ph_batch *batch, struct ph_error *err)
{
    const struct ph_event *last = batch->prefix > 0 ? &batch->events[batch->prefix - 1] : NULL;
    if (!last || ph_position_cmp(ph_event_at(last), p->settled.cp.at) <= 0) {
        return 0;
    }
    return settle_at(p, ph_event_checkpoint(last->span, last->position), err);
}

/* How many of the events that the prefix moved over were delivered. */
static int64_t count_sent(const struct ph_batch *batch, size_t from)
{
    int64_t sent = (int64_t)(batch->prefix - from);
    for (size_t i = from; i < batch->prefix && batch->parked > 0; i++) {
        sent -= batch->events[i].verdict == PH_PARKED;
    }
    return sent;
}

static int settle_batch(struct ph_pipeline *p, const struct ph_batch *batch, struct ph_error *err)
{
    if (batch->due) {
        return 0; /* no checkpoint is behind it */
    }
    if (ph_batch_done(batch) && batch->has_end) {
        return settle_at(p, batch->end, err);
    }
    return settle_inside(p, batch, err);
}

/* Moves settled over what the sink has confirmed, in order. 1 when it moved. */
static int settle(struct ph_pipeline *p, struct ph_error *err)
{
    int moved = 0;
    while (p->flight.head) {
        struct ph_batch *batch = p->flight.head;
        size_t before = batch->prefix;
        moved |= ph_batch_settle(batch);
        p->metrics.events_sent += count_sent(batch, before);
        bool done = ph_batch_done(batch);
        bool due = ph_clock_mono_us() >= p->settle_due_us;
        int rc = done || due ? settle_batch(p, batch, err) : 0;
        if (rc < 0 || !done) {
            return rc < 0 ? rc : moved;
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
    int idle = ph__told_settled(p, 0, err);
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
        int rc = ph__told_settled(p, (int)p->options->drain_timeout_ms + 1000, err);
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

static int64_t sooner(int64_t until, bool wanted, int64_t due)
{
    return wanted && due < until ? due : until;
}

static int wait_ms(const struct ph_pipeline *p)
{
    const struct ph_parking *parking = &p->parking;
    int64_t now = ph_clock_mono_us();
    int64_t until = now + WAIT_MAX_MS * 1000, soon = now + 1000;
    bool rows = parking->totals.parked + parking->totals.dead + parking->totals.scheduled > 0;
    if (p->filling) {
        until = sooner(until, true, p->config->source->due_us(p->source));
    }
    /* a checkpoint may be under way beyond its time: look every ms */
    until = sooner(until, p->dirty, p->settle_due_us > soon ? p->settle_due_us : soon);
    until = sooner(until, parking->telling || parking->asking, soon);
    bool open = p->breaker.state == PH_BREAKER_OPEN;
    until = sooner(until, rows && !parking->in_flight && !p->paused && !open,
                   parking->due_us > soon ? parking->due_us : soon);
    until = sooner(until, p->options->rate > 0 && p->rate_due_us > now, p->rate_due_us);
    until = sooner(until, (p->flight.head || p->ready.head || rows) && open,
                   p->breaker.due_us > soon ? p->breaker.due_us : soon);
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

static void wait_for_more(struct ph_pipeline *p)
{
    int sink_fd = sink_has_some(p) ? p->config->sink->fd(p->sink) : -1;
    struct pollfd fds[3] = {
        {.fd = p->filling ? p->config->source->fd(p->source) : -1, .events = POLLIN},
        {.fd = sink_fd, .events = POLLIN},
        {.fd = p->stop->fd, .events = POLLIN},
    };
    int timeout = wait_ms(p);
    if (sink_has_some(p) && sink_fd < 0 && p->breaker.state == PH_BREAKER_CLOSED && timeout > 2) {
        timeout = 2; /* a sink without a descriptor is asked again soon */
    }
    (void)ph_sys.poll(fds, 3, timeout);
    if (fds[1].revents != 0) {
        ph_breaker_hint(&p->breaker);
    }
}

static bool drained(const struct ph_pipeline *p)
{
    const struct ph_park_totals *totals = &p->parking.totals;
    return !p->flight.head && !p->ready.head && p->config->source->at_end(p->source) &&
           (totals->parked + totals->scheduled == 0 || p->parking.nothing_due);
}

/* Nothing moves until a person has made room for more parked events. */
static bool stuck(const struct ph_pipeline *p)
{
    return p->parking.full && p->parking.nothing_due && !p->flight.head;
}

/* What --once has to say: not all of the log may be delivered when it is drained. */
static int end_once(struct ph_pipeline *p, struct ph_error *err)
{
    const struct ph_park_totals *totals = &p->parking.totals;
    int rc = ph__flow_save_now(p, err);
    if (rc < 0 || totals->parked + totals->dead == 0) {
        return rc;
    }
    return ph_fail(err, PH_E_REFUSED,
                   "%s, but %lld events are dead and %lld are parked for another "
                   "attempt or behind one: posthorn dead list shows them",
                   stuck(p) ? "park_max is reached and the log is not read to its end"
                            : "the log is drained",
                   (long long)totals->dead, (long long)totals->parked);
}

static int stop_at_dead(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = ph__flow_save_now(p, err);
    return rc < 0
               ? rc
               : ph_fail(err, PH_E_REFUSED,
                         "%s. It is dead, and the pipeline stops (on_dead: stop). Mend the cause "
                         "and redrive it, or discard it (posthorn dead), then start again",
                         p->parking.stop_at);
}

/* Whether a person paused the pipeline; said when it changes. */
static int look_at_pause(struct ph_pipeline *p, struct ph_error *err)
{
    bool paused = ph_lease_paused(p->lease);
    if (paused != p->paused) {
        p->paused = paused;
        ph_log(PH_LOG_INFO, p->config->name,
               paused ? "paused by a person; what is on its way "
                        "arrives, nothing more is submitted"
                      : "resumed");
    }
    if (paused && p->config->once) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline %s is paused: posthorn resume DB-URI %s lets it go on",
                       p->config->name, p->config->name);
    }
    return 0;
}

/* What the sink has said: 1 when something moved, 0, or an error. */
static int hear(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = poll_sink(p, 0, err);
    if (rc < 0) {
        return rc;
    }
    int refused = ph__park_refused(p, err);
    if (refused < 0) {
        return refused;
    }
    int moved = settle(p, err);
    return moved < 0 ? moved : moved | refused;
}

/* What the source has stored and must store. */
static int tell(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = save(p, err);
    return rc < 0 ? rc : ph__told_begin(p, err);
}

/* One turn: 1 when something moved, 0 when not, or an error. */
static int turn(struct ph_pipeline *p, struct ph_error *err)
{
    static int (*const steps[])(struct ph_pipeline *, struct ph_error *) = {
        fill, ph__park_due, feed, hear, tell,
    };
    int moved = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int rc = steps[i](p, err);
        if (rc < 0) {
            return rc;
        }
        moved |= rc;
    }
    return moved;
}

static int check_lease(struct ph_pipeline *p, struct ph_error *err)
{
    if (ph_lease_epoch(p->lease) != p->epoch) {
        return ph_fail(err, PH_E_FENCED, "the lease of pipeline %s was lost", p->config->name);
    }
    return look_at_pause(p, err);
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
        if (ph_lease_excess(p->lease)) {
            return PH_FLOW_GIVE_UP;
        }
        int moved = turn(p, err);
        if (moved < 0) {
            return moved;
        }
        if (p->parking.stop && !p->flight.head) {
            return stop_at_dead(p, err);
        }
        if (moved == 0 && p->config->once && (drained(p) || stuck(p))) {
            return end_once(p, err);
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

/* Whether what is in the flow still moves without anything new being submitted. */
static bool moves(struct ph_pipeline *p)
{
    for (const struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        if (batch->submitted && !ph_batch_judged(batch)) {
            return true;
        }
    }
    return p->parking.telling || ph__told_wanted(p);
}

/* Gives what is in flight its time. */
static void finish_flight(struct ph_pipeline *p, int64_t timeout_ms)
{
    struct ph_error err = {0};
    int64_t deadline_us = ph_clock_mono_us() + timeout_ms * 1000;
    while (p->sink && p->source && moves(p) && ph_clock_mono_us() < deadline_us) {
        int moved = hear(p, &err);
        if (moved < 0 || tell(p, &err) < 0) {
            break;
        }
        if (moved == 0) {
            (void)ph_stop_wait(NULL, p->breaker.state == PH_BREAKER_CLOSED ? 1 : 20);
        }
    }
}

/* Stores what was settled, while the pipeline is ours; whether all of it was stored. */
static bool store_last(struct ph_pipeline *p)
{
    bool ours = p->placed && p->epoch != 0 && p->epoch == ph_lease_epoch(p->lease);
    bool stored = ours;
    struct ph_error err = {0};
    p->settle_due_us = 0; /* what was sent is settled to the last event */
    if (p->source && settle(p, &err) < 0) {
        ph_log(PH_LOG_WARN, p->config->name, "some events will be sent again: %s", err.text);
        stored = false;
    }
    if (ours && ph__flow_save_now(p, &err) < 0) {
        ph_log(PH_LOG_WARN, p->config->name, "the last checkpoint was not stored%s: %s",
               ph__keeps_checkpoint(p) ? " in the database; the sink has its own"
                                       : ", some events will be sent again",
               err.text);
        stored = false;
    }
    return stored;
}

void ph__flow_drain(struct ph_pipeline *p, int64_t timeout_ms)
{
    finish_flight(p, timeout_ms);
    bool stored = store_last(p);
    if (p->lease) {
        ph_lease_in_order(p->lease, stored && !moves(p) && !p->flight.head);
    }
    if (p->sink && p->flight.head) {
        p->config->sink->abandon(p->sink);
    }
    take_back(p, &p->flight);
    take_back(p, &p->ready);
    if (p->filling) {
        recycle(p, p->filling);
        p->filling = NULL;
    }
    ph__park_reset(p);
}
