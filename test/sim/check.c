/*
 * The promises, held against what passes the drivers:
 *   - a stored checkpoint covers nothing that the sink has not said SENT for, and never goes back
 *     to an older epoch;
 *   - events of a key are delivered for the first time in the order of the log;
 *   - an event is delivered again only when nobody had stored that it was delivered;
 *   - an instance that another one took over from submits nothing once it has looked;
 *   - in the end nothing is missing.
 */
#include "world.h"

static struct fact *fact_of(const struct ph_uuid *id)
{
    for (size_t i = 0; i < world.fact_count; i++) {
        if (memcmp(&world.facts[i].id, id, sizeof *id) == 0) {
            return &world.facts[i];
        }
    }
    sim_broken("there is an event that nobody has written");
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
    life->knew_late = false;
    world.epoch_max = epoch > world.epoch_max ? epoch : world.epoch_max;
    for (size_t i = world.covered; i < world.fact_count; i++) {
        struct fact *fact = &world.facts[i];
        fact->may_repeat |= fact->delivered > 0;
    }
}

void check_waited(struct life *life)
{
    life->knew_late |= check_fenced(life);
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
            struct fact *fact = fact_of(&event->id);
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
        if (other->key == fact->key && other->delivered == 0) {
            sim_broken("event %lld of key %u is delivered before event %lld",
                       (long long)fact->position, fact->key, (long long)other->position);
        }
    }
}

static void check_record(struct life *life, const struct ph_memory_record *record)
{
    struct fact *fact = fact_of(&record->id);
    sim_trace("  delivered: event %lld of key %u%s", (long long)fact->position, fact->key,
              fact->delivered ? ", again" : "");
    sim_tally->delivered++;
    if (fact->delivered++ == 0) {
        check_order(fact);
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
            struct fact *fact = fact_of(&event->id);
            fact->may_repeat |= event->verdict == PH_PENDING && fact->delivered > 0;
        }
    }
    life->flight_count = 0;
}

/* --- the log ---------------------------------------------------------------------------------- */

static bool is_settled(const struct fact *fact)
{
    return fact->told_sent || (world.store->keep_checkpoint && fact->delivered > 0);
}

void check_stored(struct life *life)
{
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
    for (size_t i = covered; i < world.covered; i++) { /* a sink that has its own knows best */
        world.facts[i].may_repeat |= world.store->keep_checkpoint;
    }
    if (covered < world.covered && !world.store->keep_checkpoint) {
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

bool check_quiet(void)
{
    return world.covered == world.fact_count;
}

void check_end(void)
{
    for (size_t i = 0; i < world.fact_count; i++) {
        const struct fact *fact = &world.facts[i];
        if (fact->delivered == 0) {
            sim_broken("event %lld is lost", (long long)fact->position);
        }
    }
}
