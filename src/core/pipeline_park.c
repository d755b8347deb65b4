/*
 * Out of the flow and back. An event that is refused, whose key waits or whose time has not come
 * leaves its batch; rows that are due come back as a batch of their own. Promise: while an event of
 * a key waits, no later one of that key is submitted, unless the key was let go on; what left the
 * flow is told to the source before the checkpoint passes it (pipeline_told.c).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "core/pipeline_parts.h"

#define SAY_EVERY_US 1000000
#define FIRST_ROOM   64

/* --- knowing who waits ------------------------------------------------------------------------ */

static int keep_ahead(struct ph_parking *parking, struct ph_position at)
{
    if (parking->ahead_count == parking->ahead_room) {
        size_t room = parking->ahead_room ? parking->ahead_room * 2 : FIRST_ROOM;
        struct ph_position *bigger = ph_mem_resize(parking->ahead, room * sizeof *bigger);
        if (!bigger) {
            return PH_E_NOMEM;
        }
        parking->ahead = bigger;
        parking->ahead_room = room;
    }
    parking->ahead[parking->ahead_count++] = at;
    return 0;
}

static int by_position(const void *a, const void *b)
{
    const struct ph_position *left = a, *right = b;
    return ph_position_cmp(*left, *right);
}

/* Whether the log brings an event again whose row is stored. */
static bool has_row(const struct ph_pipeline *p, const struct ph_event *event)
{
    const struct ph_parking *parking = &p->parking;
    if (event->park || parking->ahead_count == 0) {
        return false;
    }
    struct ph_position at = ph_event_at(event);
    return bsearch(&at, parking->ahead, parking->ahead_count, sizeof at, by_position) != NULL;
}

static int hold_key(void *arg, const struct ph_held *held)
{
    struct ph_parking *parking = arg;
    struct ph_hold *hold = &parking->hold;
    uint32_t rows = held->rows > UINT32_MAX ? UINT32_MAX : (uint32_t)held->rows;
    int rc = ph_hold_add(hold, held->key, rows, NULL);
    if (rc == 0 && held->has_gap) {
        const struct ph_gap gap = {held->gap, held->gap_at};
        rc = ph_hold_put_gap(hold, held->key, &gap, NULL);
    }
    return rc == 0 && held->ahead ? keep_ahead(parking, held->at) : rc;
}

static bool joins_queue(const struct ph_event *event)
{
    return event->verdict == PH_HELD && event->leaves != PH_LEAVES_SCHEDULED &&
           event->leaves != PH_LEAVES_PASSED;
}

/* Events that left the flow, but are not among the rows yet. */
static int hold_again(struct ph_pipeline *p, struct ph_error *err)
{
    for (const struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        for (size_t i = 0; i < batch->count && batch->owing > 0; i++) {
            const struct ph_event *event = &batch->events[i];
            if (!event->park && joins_queue(event) &&
                ph_hold_add(&p->parking.hold, event->order_key, 1, err) < 0) {
                return PH_E_NOMEM;
            }
        }
    }
    return 0;
}

int ph__park_load(struct ph_pipeline *p, struct ph_error *err)
{
    ph_hold_clear(&p->parking.hold);
    p->parking.ahead_count = 0;
    int rc = p->config->source->held(p->source, hold_key, &p->parking, &p->parking.totals, err);
    if (p->parking.ahead_count > 0) {
        qsort(p->parking.ahead, p->parking.ahead_count, sizeof *p->parking.ahead, by_position);
    }
    if (rc == PH_E_NOMEM && err->code == 0) {
        return ph_fail(err, rc, "no memory for the keys that wait");
    }
    p->parking.full = false;
    return rc < 0 ? rc : hold_again(p, err);
}

void ph__park_reset(struct ph_pipeline *p)
{
    struct ph_parking *parking = &p->parking;
    parking->telling = parking->asking = parking->in_flight = parking->nothing_due = false;
    parking->stop = false;
    parking->leaving = parking->failed = 0;
    parking->due_us = 0;
    ph_batch_reset(parking->batch);
    ph_hold_clear(&parking->hold);
}

void ph__park_free(struct ph_pipeline *p)
{
    ph_batch_free(p->parking.batch);
    ph_mem_free(p->parking.changes);
    ph_mem_free(p->parking.ahead);
    ph_hold_free(&p->parking.hold);
}

/* --- leaving ---------------------------------------------------------------------------------- */

/* Says that an event failed, once a second at most. */
static void say(struct ph_pipeline *p, const struct ph_event *event, const char *what)
{
    struct ph_parking *parking = &p->parking;
    char id[PH_UUID_TEXT_LEN + 1], more[48] = "";
    int64_t now = ph_clock_mono_us();
    if (parking->said_us != 0 && now - parking->said_us < SAY_EVERY_US) {
        parking->not_said++;
        return;
    }
    if (parking->not_said > 0) {
        (void)snprintf(more, sizeof more, " (and %lld more)", (long long)parking->not_said);
    }
    parking->said_us = now;
    parking->not_said = 0;
    ph_uuid_format(&event->id, id);
    ph_log(PH_LOG_WARN, p->config->name, "event %s at %lld-%lld %s: %s%s", id,
           (long long)event->span->tick, (long long)event->position, what,
           event->cause ? event->cause : "no cause given", more);
}

static void want_stop(struct ph_pipeline *p, const struct ph_event *event)
{
    char id[PH_UUID_TEXT_LEN + 1];
    ph_uuid_format(&event->id, id);
    (void)snprintf(p->parking.stop_at, sizeof p->parking.stop_at, "event %s at %lld-%lld: %.150s",
                   id, (long long)event->span->tick, (long long)event->position,
                   event->cause ? event->cause : "no cause given");
    p->parking.stop = true;
}

static enum ph_leave leave_of(const struct ph_pipeline *p, const struct ph_event *event)
{
    int attempts = (event->park ? event->park->attempts : 0) + 1;
    if (event->verdict == PH_RETRY && attempts < p->config->retry.attempts) {
        return PH_LEAVES_RETRY;
    }
    bool goes_on = p->options->on_dead == PH_ON_DEAD_SKIP || (event->park && event->park->passed);
    return goes_on ? PH_LEAVES_PASSED : PH_LEAVES_DEAD;
}

/* What the failed event was to tell its key is to be told by the next one. */
static int keep_gap(struct ph_pipeline *p, struct ph_event *event, struct ph_error *err)
{
    const struct ph_gap *gap = event->gap;
    event->gap = NULL;
    return gap ? ph_hold_put_gap(&p->parking.hold, event->order_key, gap, err) : 0;
}

/* Counts the event among those that wait, or forgets it there. */
static int count_key(struct ph_pipeline *p, const struct ph_event *event, enum ph_leave leaves,
                     struct ph_error *err)
{
    struct ph_hold *hold = &p->parking.hold;
    bool counted = event->park && event->park->state != PH_PARK_SCHEDULED;
    if (leaves == PH_LEAVES_PASSED) {
        const struct ph_gap gap = {event->id, ph_event_at(event)};
        if (counted) {
            ph_hold_take(hold, event->order_key);
        }
        return ph_hold_put_gap(hold, event->order_key, &gap, err);
    }
    return counted ? 0 : ph_hold_add(hold, event->order_key, 1, err);
}

/* An event that was refused leaves the flow. */
static int fail(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                struct ph_error *err)
{
    enum ph_leave leaves = leave_of(p, event);
    int rc = keep_gap(p, event, err);
    if (rc == 0) {
        rc = count_key(p, event, leaves, err);
    }
    if (rc < 0) {
        return rc;
    }
    p->metrics.events_failed++;
    p->metrics.events_dead += leaves != PH_LEAVES_RETRY;
    p->parking.leaving++;
    p->parking.failed++;
    say(p, event,
        leaves == PH_LEAVES_RETRY ? "was not delivered, another attempt follows" : "is dead");
    if (leaves == PH_LEAVES_DEAD && p->options->on_dead == PH_ON_DEAD_STOP) {
        want_stop(p, event);
    }
    ph_batch_leave(batch, event, leaves);
    return 0;
}

static int leave(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                 enum ph_leave leaves, struct ph_error *err)
{
    int rc = keep_gap(p, event, err);
    if (rc == 0 && leaves == PH_LEAVES_BEHIND) {
        rc = ph_hold_add(&p->parking.hold, event->order_key, 1, err);
    }
    if (rc == 0) {
        p->parking.leaving++;
        ph_batch_leave(batch, event, leaves);
    }
    return rc;
}

/* --- screening -------------------------------------------------------------------------------- */

static bool is_refused(const struct ph_event *event)
{
    return event->verdict == PH_RETRY || event->verdict == PH_REJECT;
}

static bool is_scheduled(const struct ph_event *event)
{
    return !event->park && event->deliver_after_us > event->created_us;
}

/* Whether an event must wait for another of its key: one that comes from a row only when its time
 * came while the key waits. */
static bool must_wait(const struct ph_pipeline *p, const struct ph_event *event)
{
    bool in_queue = event->park && event->park->state != PH_PARK_SCHEDULED;
    return !in_queue && ph_hold_has(&p->parking.hold, event->order_key);
}

/* Events of a due batch behind one of their key that failed go back to their rows. */
static int return_behind(struct ph_pipeline *p, struct ph_batch *batch,
                         const struct ph_event *failed, struct ph_error *err)
{
    size_t from = (size_t)(failed - batch->events) + 1;
    for (size_t i = from; i < batch->count && failed->order_key.ptr; i++) {
        struct ph_event *event = &batch->events[i];
        if (event->verdict == PH_PENDING && event->park->state != PH_PARK_SCHEDULED &&
            event->order_key.ptr && ph_str_eq(event->order_key, failed->order_key)) {
            int rc = keep_gap(p, event, err);
            if (rc < 0) {
                return rc;
            }
            ph_batch_return(batch, event);
        }
    }
    return 0;
}

static int put_header(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                      struct ph_str name, struct ph_str value, struct ph_error *err)
{
    if (p->config->sink->caps & PH_SINK_RECORDS) {
        return ph_route_header(&batch->arena, event, name, value, err);
    }
    struct ph_buf json;
    ph_buf_init(&json, event->headers_json.len + name.len + value.len + 16);
    bool more = event->headers_json.len > 2;
    ph_buf_puts(&json, "{\"");
    ph_buf_put_str(&json, name);
    ph_buf_puts(&json, "\":\"");
    ph_buf_put_str(&json, value);
    ph_buf_puts(&json, more ? "\"," : "\"}");
    if (more) {
        ph_buf_put(&json, event->headers_json.ptr + 1, event->headers_json.len - 1);
    }
    char *copy = json.failed ? NULL : ph_arena_copy(&batch->arena, json.ptr, json.len);
    event->headers_json = (struct ph_str){copy, json.len};
    ph_buf_free(&json);
    return copy ? 0 : ph_fail(err, PH_E_NOMEM, "the batch has no room for a header");
}

/* An event behind a gap tells of it. */
static int tell_gap(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                    struct ph_error *err)
{
    struct ph_gap gap;
    if (event->gap ||
        !ph_hold_take_gap(&p->parking.hold, event->order_key, ph_event_at(event), &gap)) {
        return 0;
    }
    if (ph_position_cmp(gap.at, ph_event_at(event)) == 0) {
        return 0; /* the event that was passed: it fills its gap */
    }
    struct ph_gap *kept = ph_arena_copy(&batch->arena, &gap, sizeof gap);
    char *id = ph_arena_alloc(&batch->arena, PH_UUID_TEXT_LEN + 1);
    if (!kept || !id) {
        return ph_fail(err, PH_E_NOMEM, "the batch has no room for a gap");
    }
    ph_uuid_format(&gap.id, id);
    event->gap = kept;
    ph_batch_owe(batch, event);
    return put_header(p, batch, event, PH_STR(PH_HEADER_GAP), (struct ph_str){id, PH_UUID_TEXT_LEN},
                      err);
}

static int screen_refused(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                          struct ph_error *err)
{
    if (must_wait(p, event)) { /* it is judged when its turn comes */
        return leave(p, batch, event, PH_LEAVES_BEHIND, err);
    }
    int rc = fail(p, batch, event, err);
    if (rc == 0 && batch->due && event->leaves != PH_LEAVES_PASSED) {
        rc = return_behind(p, batch, event, err);
    }
    return rc;
}

static int screen_event(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                        struct ph_error *err)
{
    if (has_row(p, event) && (is_refused(event) || event->verdict == PH_PENDING)) {
        if (is_refused(event)) {
            ph_batch_unjudge(batch, event);
        }
        ph_batch_return(batch, event);
        return 0;
    }
    if (is_refused(event)) {
        return screen_refused(p, batch, event, err);
    }
    if (event->verdict != PH_PENDING) {
        return 0;
    }
    if (is_scheduled(event)) {
        return leave(p, batch, event, PH_LEAVES_SCHEDULED, err);
    }
    if (must_wait(p, event)) {
        return leave(p, batch, event, PH_LEAVES_BEHIND, err);
    }
    return tell_gap(p, batch, event, err);
}

/* Whether a batch begins in front of a row that is stored: until the checkpoint has passed it, that
 * row cannot come due. */
static bool is_read_again(const struct ph_pipeline *p, const struct ph_batch *batch)
{
    const struct ph_parking *parking = &p->parking;
    return parking->ahead_count > 0 &&
           ph_position_cmp(ph_event_at(&batch->events[0]),
                           parking->ahead[parking->ahead_count - 1]) <= 0;
}

bool ph__park_has_room(struct ph_pipeline *p, const struct ph_batch *batch)
{
    const struct ph_park_totals *totals = &p->parking.totals;
    if (batch->count == 0 || is_read_again(p, batch)) {
        return true;
    }
    int64_t rows = totals->parked + totals->dead + (int64_t)p->parking.leaving;
    bool room = rows <= p->options->park_max;
    if (!room && !p->parking.full) {
        ph_log(
            PH_LOG_WARN, p->config->name,
            "%lld events are parked or dead: park_max is reached, and nothing more is read until "
            "there is room (posthorn dead list, redrive, discard)",
            (long long)rows);
    }
    p->parking.full = !room;
    return room;
}

static bool any_scheduled(const struct ph_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i].deliver_after_us != 0) {
            return true;
        }
    }
    return false;
}

int ph__park_screen(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    if (!batch->due && batch->count > 0 && !is_read_again(p, batch)) {
        p->parking.ahead_count = 0; /* the log is behind them all */
    }
    if (batch->refused == 0 && ph_hold_empty(&p->parking.hold) && p->parking.ahead_count == 0 &&
        !any_scheduled(batch)) {
        return 0;
    }
    for (size_t i = 0; i < batch->count; i++) {
        int rc = screen_event(p, batch, &batch->events[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* --- the sink refused ------------------------------------------------------------------------- */

int ph__park_refused(struct ph_pipeline *p, struct ph_error *err)
{
    bool refused = false;
    for (const struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        refused |= batch->submitted && batch->refused > 0;
    }
    if (!refused) {
        return 0;
    }
    p->config->sink->abandon(p->sink);
    for (struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        batch->submitted = false;
    }
    for (struct ph_batch *batch = p->flight.head; batch; batch = batch->next) {
        for (size_t i = 0; i < batch->count; i++) {
            int rc = screen_event(p, batch, &batch->events[i], err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 1;
}

/* --- coming back ------------------------------------------------------------------------------ */

/* An event that does not stand where the log has it says why. */
static int tell_late(struct ph_pipeline *p, struct ph_batch *batch, struct ph_event *event,
                     struct ph_error *err)
{
    const struct ph_str yes = PH_STR("true");
    int rc = 0;
    if (event->park->passed) {
        rc = put_header(p, batch, event, PH_STR(PH_HEADER_REDRIVEN), yes, err);
    }
    if (rc == 0 && event->deliver_after_us > event->created_us) {
        rc = put_header(p, batch, event, PH_STR(PH_HEADER_SCHEDULED), yes, err);
    }
    return rc;
}

static int tell_all_late(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < batch->count && rc == 0; i++) {
        if (batch->events[i].verdict == PH_PENDING) {
            rc = tell_late(p, batch, &batch->events[i], err);
        }
    }
    return rc;
}

/* Rows that reshard made may be events that match does not want: they are passed over, and their
 * rows go. */
static int match_due(struct ph_pipeline *p, struct ph_batch *batch, struct ph_error *err)
{
    const struct ph_match_config *match = p->config->match;
    for (size_t i = 0; ph_match_wanted(match) && i < batch->count; i++) {
        struct ph_event *event = &batch->events[i];
        int takes = ph_match_event(match, &batch->arena, event, err);
        if (takes < 0) {
            return takes;
        }
        if (takes == 0 && event->verdict == PH_PENDING) {
            ph_batch_verdict(batch, event, PH_SENT, NULL);
            p->metrics.events_passed_over++;
        }
    }
    return 0;
}

/* Puts what came due into the flow, behind what is there. */
static int bring_back(struct ph_pipeline *p, struct ph_error *err)
{
    struct ph_batch *batch = p->parking.batch;
    batch->due = true;
    for (size_t i = 0; i < batch->count; i++) {
        batch->events[i].order_key = batch->events[i].park->key;
        ph_batch_owe(batch, &batch->events[i]);
    }
    int rc = match_due(p, batch, err);
    if (rc == 0) {
        rc = ph__flow_route(p, batch, err);
    }
    for (size_t i = 0; i < batch->count && rc >= 0; i++) {
        batch->events[i].order_key = batch->events[i].park->key; /* as it was when it left */
    }
    if (rc >= 0) {
        rc = tell_all_late(p, batch, err);
    }
    if (rc >= 0) {
        rc = ph__park_screen(p, batch, err);
    }
    if (rc >= 0) {
        p->parking.in_flight = true;
        ph_batch_queue_put(&p->flight, batch);
    }
    return rc < 0 ? rc : 0;
}

/* Whether there may be rows that are due, and the sink may take them: when nothing else is there to
 * ask whether it is back, they do. */
static bool may_ask(struct ph_pipeline *p)
{
    const struct ph_parking *parking = &p->parking;
    if (parking->asking) {
        return true;
    }
    bool rows = parking->totals.parked + parking->totals.dead + parking->totals.scheduled > 0;
    if (!rows || parking->in_flight || parking->telling || parking->failed > 0 || parking->stop ||
        p->paused || ph_clock_mono_us() < parking->due_us) {
        return false;
    }
    return p->breaker.state == PH_BREAKER_CLOSED ||
           (!p->flight.head && ph_breaker_allows(&p->breaker));
}

static void plan_next(struct ph_parking *parking, const struct ph_due *due)
{
    bool some = parking->batch->count > 0;
    int64_t wait_ms = due->wait_ms < 0 || due->wait_ms > PH_PARK_LOOK_MS ? PH_PARK_LOOK_MS
                      : due->wait_ms == 0 && !some ? 5 /* the checkpoint must pass it first */
                                                   : due->wait_ms;
    parking->due_us = ph_clock_mono_us() + wait_ms * 1000;
    parking->nothing_due = !some && due->wait_ms != 0;
}

int ph__park_due(struct ph_pipeline *p, struct ph_error *err)
{
    struct ph_parking *parking = &p->parking;
    if (!may_ask(p)) {
        return 0;
    }
    if (!parking->asking) {
        ph_batch_reset(parking->batch);
    }
    struct ph_due due = {.wait_ms = -1};
    int rc = p->config->source->due(p->source, parking->batch, &due, err);
    if (rc < 0) {
        return rc;
    }
    parking->asking = rc == PH_FETCH_NOTHING;
    if (parking->asking) {
        return 0;
    }
    plan_next(parking, &due);
    if (parking->nothing_due && due.wait_ms < 0 && ph__keeps_checkpoint(p) &&
        p->config->sink->row_gone) {
        p->config->sink->row_gone(p->sink, NULL); /* one that was sent would be due */
    }
    if (due.acts != parking->totals.acts) {
        rc = ph__park_load(p, err);
    }
    if (rc < 0 || parking->batch->count == 0) {
        return rc < 0 ? rc : 0;
    }
    rc = bring_back(p, err);
    return rc < 0 ? rc : 1;
}
