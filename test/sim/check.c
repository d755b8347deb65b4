/*
 * The promises, held against what passes the drivers:
 *   - a lease that is given back in order means that the sink is not further than the log knows;
 *   - a stored checkpoint covers nothing that the sink has not said SENT for, and never goes back
 *     to an older epoch;
 *   - events of a key are delivered for the first time in the order of the log;
 *   - an event is delivered again only when nobody had stored that it was delivered;
 *   - an instance that another one took over from submits nothing once it has looked;
 *   - an instance that knows of a pause submits nothing;
 *   - in the end every event is delivered, or among the rows that a person can see.
 */
#include "world.h"

struct fact *check_fact(const struct ph_uuid *id)
{
    size_t number = id->bytes[15];
    if (number == 0 || number > world.fact_count ||
        memcmp(&world.facts[number - 1].id, id, sizeof *id) != 0) {
        sim_broken("there is an event that nobody has written");
    }
    return &world.facts[number - 1];
}

/* --- rows ------------------------------------------------------------------------------------- */

const struct ph_memory_parked *row_at(size_t index)
{
    const struct ph_memory_row *of = ph__memory_row(world.log, SIM_PIPELINE, 0);
    return index < of->parked_count ? &of->parked[index] : NULL;
}

const struct ph_memory_parked *row_of(const struct fact *fact)
{
    const struct ph_memory_parked *row;
    for (size_t i = 0; (row = row_at(i)); i++) {
        if (row->kept.event.position == fact->position) {
            return row;
        }
    }
    return NULL;
}

/* A number that changes when a row does. */
uint64_t check_rows(void)
{
    const struct ph_memory_parked *row;
    uint64_t hash = 0;
    for (size_t i = 0; (row = row_at(i)); i++) {
        const int64_t parts[] = {row->kept.event.position,
                                 (int64_t)row->state,
                                 row->attempts,
                                 row->next_us,
                                 row->passed,
                                 row->gap_due};
        for (size_t j = 0; j < sizeof parts / sizeof *parts; j++) {
            hash = (hash ^ (uint64_t)parts[j]) * 0x100000001b3U;
        }
    }
    return hash;
}

static void check_passed(void)
{
    for (size_t i = 0; i < world.fact_count; i++) {
        const struct ph_memory_parked *row = row_of(&world.facts[i]);
        world.facts[i].was_passed |= row && row->passed;
    }
}

/* Whether its key goes on without the event. */
static bool is_let_pass(const struct fact *fact)
{
    const struct ph_memory_parked *row = row_of(fact);
    return world.knobs.keyless || fact->unwanted || fact->later || fact->discarded ||
           (row && row->passed);
}

bool check_fenced(const struct life *life)
{
    return ph_memory_log_epoch(world.log, SIM_PIPELINE, 0) != life->epoch;
}

/* --- sessions --------------------------------------------------------------------------------- */

/* What was delivered, but is not known to the log when a session begins, comes again. */
void check_session(struct life *life, int64_t epoch)
{
    life->epoch = epoch;
    life->knew_late = life->knew_paused = false;
    world.epoch_max = epoch > world.epoch_max ? epoch : world.epoch_max;
    for (size_t i = 0; i < world.fact_count; i++) {
        struct fact *fact = &world.facts[i];
        fact->may_repeat |= fact->delivered > 0 && (i >= world.covered || row_of(fact));
    }
}

void check_waited(struct life *life)
{
    life->knew_late |= check_fenced(life);
    life->knew_paused |= life->paused;
}

/* Whether that lease was ended by hand, which its owner cannot know at once. */
static bool is_robbed(int64_t epoch)
{
    return world.robbed[(size_t)epoch % SIM_EPOCHS_MAX];
}

void check_submit(struct life *life, const struct ph_batch *batch)
{
    bool fenced = check_fenced(life);
    sim_tally->late += fenced;
    if (fenced && life->knew_late && !is_robbed(life->epoch)) {
        sim_broken("events are submitted under epoch %lld, which is over", (long long)life->epoch);
    }
    if (life->knew_paused && !world.calm) {
        sim_broken("events are submitted, although the pipeline is paused");
    }
    if (life->flight_count == SIM_FLIGHTS_MAX) {
        sim_broken("more batches in flight than the window has");
    }
    life->flights[life->flight_count++] = (struct flight){batch, batch->generation};
}

/* --- the sink --------------------------------------------------------------------------------- */

static void note_verdicts(struct life *life)
{
    size_t kept = 0;
    for (size_t i = 0; i < life->flight_count; i++) {
        struct flight flight = life->flights[i];
        bool open = false;
        for (size_t j = 0; flight.batch->generation == flight.generation && j < flight.batch->count;
             j++) {
            const struct ph_event *event = &flight.batch->events[j];
            struct fact *fact = check_fact(&event->id);
            fact->told_sent |= event->verdict == PH_SENT;
            open |= event->verdict == PH_PENDING;
        }
        if (open) {
            life->flights[kept++] = flight;
        }
    }
    life->flight_count = kept;
}

static void check_order(const struct fact *fact)
{
    for (const struct fact *other = world.facts; other < fact; other++) {
        if (other->key == fact->key && other->delivered == 0 && !is_let_pass(other)) {
            sim_broken("event %lld of key %u is delivered before event %lld",
                       (long long)fact->position, fact->key, (long long)other->position);
        }
    }
}

/* The value of a header; ptr NULL: none. */
static struct ph_str header_of(const struct ph_memory_record *record, const char *name)
{
    for (unsigned i = 0; i < record->header_count; i++) {
        if (ph_str_is(record->headers[i].name, name)) {
            return record->headers[i].value;
        }
    }
    return (struct ph_str){NULL, 0};
}

/* A gap that is told is one: an event of the key that was passed. */
static void check_gap(const struct fact *fact, const struct ph_memory_record *record)
{
    struct ph_str told = header_of(record, "posthorn-gap");
    struct ph_uuid id;
    if (!told.ptr) {
        return;
    }
    struct fact *gap = ph_uuid_parse(told, &id) ? check_fact(&id) : NULL;
    if (!gap || gap->key != fact->key || gap == fact) {
        sim_broken("event %lld tells of a gap that is none of its key's",
                   (long long)fact->position);
    }
    gap->gap_told = true;
    sim_tally->gaps++;
}

/* The newest event in front of it that its key went on without has been told of, or this one tells
 * of another: one each. */
static void check_gap_told(const struct fact *fact, const struct ph_memory_record *record)
{
    if (world.knobs.keyless || header_of(record, "posthorn-gap").ptr ||
        header_of(record, "posthorn-redriven").ptr) {
        return;
    }
    const struct fact *gap = NULL;
    for (const struct fact *other = world.facts; other < fact; other++) {
        const struct ph_memory_parked *row = row_of(other);
        bool passed = row && row->passed && row->state == PH_PARK_DEAD && !row->discarded;
        gap = other->key == fact->key && passed && other->was_passed ? other : gap;
    }
    if (gap && !gap->gap_told) {
        sim_broken("event %lld is delivered behind event %lld, which is dead, and nobody was told",
                   (long long)fact->position, (long long)gap->position);
    }
}

/* An event behind which others of its key were delivered says so, unless it was to come later. */
static void check_redriven(const struct fact *fact, const struct ph_memory_record *record)
{
    bool told =
        world.knobs.keyless || fact->later || header_of(record, "posthorn-redriven").ptr != NULL;
    for (const struct fact *other = fact + 1; other < world.facts + world.fact_count; other++) {
        if (other->key == fact->key && other->delivered > 0 && !other->later && !told) {
            sim_broken("event %lld of key %u is delivered behind event %lld, and does not say so",
                       (long long)fact->position, fact->key, (long long)other->position);
        }
    }
}

static void check_record(struct life *life, const struct ph_memory_record *record)
{
    struct fact *fact = check_fact(&record->id);
    sim_trace("  delivered: event %lld of key %u%s", (long long)fact->position, fact->key,
              fact->delivered ? ", again" : "");
    sim_tally->delivered++;
    check_gap(fact, record);
    if (fact->poison || fact->flawed || fact->unwanted) {
        sim_broken("event %lld cannot be delivered, and is", (long long)fact->position);
    }
    if (fact->delivered++ == 0) {
        check_order(fact);
        if (!check_fenced(life)) { /* else it cannot know that the key went on meanwhile */
            check_redriven(fact, record);
            check_gap_told(fact, record);
        }
    } else {
        sim_tally->repeated++;
        if (!fact->may_repeat && !check_fenced(life)) {
            sim_broken("event %lld is delivered again without need", (long long)fact->position);
        }
    }
    fact->may_repeat = check_fenced(life); /* its owner does not know of it */
}

void check_delivered(struct life *life)
{
    struct ph_memory_record record;
    while (ph_memory_store_record(world.store, world.record_count, &record)) {
        world.record_count++;
        check_record(life, &record);
    }
    note_verdicts(life);
}

/* What it gives up may have arrived. */
void check_abandon(struct life *life)
{
    for (size_t i = 0; i < life->flight_count; i++) {
        struct flight flight = life->flights[i];
        for (size_t j = 0; flight.batch->generation == flight.generation && j < flight.batch->count;
             j++) {
            const struct ph_event *event = &flight.batch->events[j];
            struct fact *fact = check_fact(&event->id);
            fact->may_repeat |= event->verdict == PH_PENDING && fact->delivered > 0;
        }
    }
    life->flight_count = 0;
}

/* --- the log ---------------------------------------------------------------------------------- */

static bool is_settled(const struct fact *fact)
{
    return fact->unwanted || fact->told_sent || row_of(fact) ||
           (world.store->keep_checkpoint && fact->delivered > 0);
}

/* What is given back in order may be read without the sink. The row is looked at as it is: a copy
 * wants memory, which may be what is missing. */
void check_in_order(void)
{
    const struct ph_checkpoint_kept *theirs = &world.store->checkpoint;
    struct ph_position stored = {0};
    ph__memory_lock(world.log);
    if (world.log->row_count > 0 && world.log->rows[0].checkpoint.set) {
        stored = world.log->rows[0].checkpoint.cp.at;
    }
    ph__memory_unlock(world.log);
    if (world.knobs.options.delivery == PH_EXACTLY_ONCE && theirs->set &&
        ph_position_cmp(theirs->cp.at, stored) > 0) {
        sim_broken("a lease is given back in order at %lld-%lld, and the sink is at %lld-%lld",
                   (long long)stored.tick, (long long)stored.position,
                   (long long)theirs->cp.at.tick, (long long)theirs->cp.at.position);
    }
}

void check_stored(struct life *life, uint64_t rows_before)
{
    check_passed();
    if (life->epoch < world.epoch_max && rows_before != check_rows()) {
        sim_broken("parked rows are changed under epoch %lld, after %lld has begun",
                   (long long)life->epoch, (long long)world.epoch_max);
    }
    struct ph_checkpoint_kept kept = {0};
    int found = ph_memory_log_checkpoint(world.log, SIM_PIPELINE, 0, &kept);
    struct ph_position at = kept.cp.at;
    ph_checkpoint_kept_free(&kept);
    if (found != 1 || ph_position_cmp(at, world.stored) == 0) {
        return;
    }
    ph__memory_lock(world.log);
    size_t covered = ph__memory_behind(world.log, at);
    ph__memory_unlock(world.log);
    if (covered < world.covered) {
        sim_broken("the stored checkpoint goes back from %lld-%lld to %lld-%lld",
                   (long long)world.stored.tick, (long long)world.stored.position,
                   (long long)at.tick, (long long)at.position);
    }
    if (life->epoch < world.epoch_max) {
        sim_broken("a checkpoint is stored under epoch %lld, after %lld has begun",
                   (long long)life->epoch, (long long)world.epoch_max);
    }
    world.stored = at;
    for (; world.covered < covered; world.covered++) {
        const struct fact *fact = &world.facts[world.covered];
        if (!is_settled(fact)) {
            sim_broken("checkpoint %lld-%lld is ahead of event %lld", (long long)at.tick,
                       (long long)at.position, (long long)fact->position);
        }
    }
}

static int compare(const struct ph_memory_parked *a, const struct ph_memory_parked *b)
{
    int by_queue = ph_position_cmp(a->queue, b->queue);
    int64_t by_time = a->kept.event.deliver_after_us - b->kept.event.deliver_after_us;
    return by_queue  ? by_queue
           : by_time ? (by_time < 0 ? -1 : 1)
                     : (int)(a->kept.event.position - b->kept.event.position);
}

/* Whether a dead event stands in front of it, for which its key waits. */
static bool is_behind_dead(const struct ph_memory_parked *row)
{
    const struct ph_memory_parked *other;
    for (size_t i = 0; row->key && (other = row_at(i)); i++) {
        bool holds = other->state == PH_PARK_DEAD && !other->passed && !other->discarded;
        if (holds && other->key && strcmp(other->key, row->key) == 0 && compare(other, row) < 0) {
            return true;
        }
    }
    return false;
}

void check_say_rows(void)
{
    static const char *const states[] = {"parked", "dead", "scheduled"};
    const struct ph_memory_parked *row;
    for (size_t i = 0; (row = row_at(i)); i++) {
        sim_trace("row %lld of %s: %s%s%s, queue %lld-%lld, next %.6f%s",
                  (long long)row->kept.event.position, row->key ? row->key : "no key",
                  states[row->state], row->passed ? ", passed" : "",
                  row->discarded ? ", discarded" : "", (long long)row->queue.tick,
                  (long long)row->queue.position, tasks_wall_s(row->next_us),
                  row->gap_due ? ", gap to tell" : "");
    }
}

bool check_quiet(void)
{
    const struct ph_memory_parked *row;
    for (size_t i = 0; (row = row_at(i)); i++) {
        if (!row->discarded && row->state != PH_PARK_DEAD && !is_behind_dead(row)) {
            return false;
        }
    }
    return world.covered == world.fact_count;
}

void check_end(void)
{
    for (size_t i = 0; i < world.fact_count; i++) {
        const struct fact *fact = &world.facts[i];
        if (fact->delivered == 0 && !fact->unwanted && !row_of(fact)) {
            sim_broken("event %lld is lost", (long long)fact->position);
        }
    }
}
