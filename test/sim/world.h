/*
 * The simulated world of one seed: a log and a store in memory, what goes wrong and how often, two
 * instances of one pipeline, and what is known about each event. world.c lives the seed, drivers.c
 * stands before the memory drivers and makes things go wrong, check.c holds the promises against
 * what it sees.
 */
#ifndef PH_SIM_WORLD_H
#define PH_SIM_WORLD_H

#include "core/pipeline.h"
#include "sink/memory_store.h"
#include "source/memory_log.h"
#include "tasks.h"

#define SIM_EVENTS_MAX  60
#define SIM_KEYS_MAX    5
#define SIM_SLOTS_MAX   2
#define SIM_FLIGHTS_MAX 16
#define SIM_EPOCHS_MAX  256
#define SIM_PIPELINE    "orders"

/* How a world is; drawn from its seed. "in" is one in so many calls, 0 is never. */
struct knobs {
    unsigned slots, keys, events;
    int64_t active_us; /* events come and things go wrong for so long */
    int64_t lease_ms;
    unsigned crash_in, lose_in, stall_in, slow_in, down_in;
    unsigned retry_in, reject_in; /* attempts that the sink refuses */
    unsigned poison_in, flaw_in, later_in,
        unwanted_in; /* events: never accepted, unreadable, deliver_after */
    unsigned redrive_in, discard_in, rest_in; /* what people do, and how often they pause it */
    /* 0: the memory sink with a checkpoint of its own; 1: without; 2: lanes */
    unsigned sink;
    bool keyless;   /* the route gives no keys: there is no order to keep */
    bool own_ticks; /* the world makes ticks, not the reader */
    bool tidy;      /* in the end a person sees to every dead event */
    struct ph_pipeline_options options;
    struct ph_retry_options retry;
};

/* One event as the world knows it. */
struct fact {
    struct ph_uuid id;
    unsigned key;
    int64_t position;
    unsigned delivered; /* how often */
    bool told_sent;     /* the sink has said SENT to an instance */
    bool may_repeat;    /* it was delivered, but that was not stored when a session began */
    bool poison, flawed, later;
    bool unwanted;     /* by match */
    bool was_passed;   /* its row said so */
    bool gap_told;     /* an event behind it has named it */
    bool discarded;    /* a person gave it up */
    unsigned redriven; /* in the end, by a person */
};

struct flight {
    const struct ph_batch *batch;
    uint64_t generation;
};

/* One instance from its start to its end or crash. */
struct life {
    struct slot *slot;
    unsigned number;
    bool failing; /* what it asks for counts, and may fail */
    bool crashed; /* nothing it does reaches the world any more */
    struct ph_stop stop;
    struct ph_pipeline_config config;
    struct ph_route_config route;
    int64_t epoch;            /* of its last load */
    bool knew_late;           /* since then it was fenced, and has been through a wait */
    bool paused, knew_paused; /* its keeper was told so; likewise */
    struct flight flights[SIM_FLIGHTS_MAX];
    size_t flight_count;
};

/* A place where instances run, one after the other. */
struct slot {
    struct actor actor;
    struct life *life; /* NULL between two */
};

/* What happened, over all seeds: a simulation in which nothing goes wrong proves nothing. */
struct tally {
    uint64_t seeds, steps, events, delivered, repeated, calls;
    uint64_t crashes, losses, stalls, slow, downs, fenced, late, retries, rejects, stops;
    uint64_t parked, dead, scheduled, redriven, discarded, pauses, gaps;
    uint64_t unwanted, refused; /* events; requests for memory */
};

extern struct world {
    struct knobs knobs;
    struct dice plan, fault, verdict;
    char name[32], from[48], to[48];
    struct ph_memory_log *log;
    struct ph_memory_store *store;
    struct fact facts[SIM_EVENTS_MAX];
    size_t fact_count, record_count;
    struct slot slots[SIM_SLOTS_MAX];
    unsigned lives;
    uint64_t calls;              /* of drivers */
    uint64_t hits;               /* what was asked for by its number came about */
    bool calm;                   /* nothing goes wrong any more */
    bool over;                   /* no instance starts any more */
    int64_t epoch_max;           /* of all loads */
    bool robbed[SIM_EPOCHS_MAX]; /* leases that were ended by hand */
    struct ph_position stored;
    size_t covered; /* events from the start that the stored checkpoint was checked for */
} world;

extern struct tally *sim_tally;

/* Memory, in oom.c: count requests of instances fail from that one on, the first is 0. How many
 * did; how many there were; blocks that were not given back. */
void oom_begin(uint64_t from, uint64_t count);
uint64_t oom_hits(void);
uint64_t oom_asked(void);
long oom_live(void);
/* Whether the request comes from an instance. */
bool world_is_failing(void);

/* Lives one seed from beginning to end; does not come back when a promise is broken. */
void world_live(uint64_t seed);

/* The drivers that stand before the memory drivers; their config is a struct life. */
extern const struct ph_source_driver sim_source;
extern const struct ph_sink_driver sim_sink[];
/* A sink like a broker, in lanes.c. */
extern const struct ph_sink_driver lanes_sink;
/* Whether that bug is planted. */
bool sim_planted(const char *plant);
extern const char *const sim_plants[];

/* Promises. The position is that of a stored checkpoint. */
bool check_fenced(const struct life *life);
void check_submit(struct life *life, const struct ph_batch *batch);
void check_waited(struct life *life);
void check_delivered(struct life *life);
void check_abandon(struct life *life);
void check_session(struct life *life, int64_t epoch);
void check_stored(struct life *life, uint64_t rows_before);
void check_in_order(void);
uint64_t check_rows(void);
struct fact *check_fact(const struct ph_uuid *id);
/* The row of an event, or NULL; of the stored rows, one by one. */
const struct ph_memory_parked *row_of(const struct fact *fact);
const struct ph_memory_parked *row_at(size_t index);
void check_end(void);
void check_say_rows(void);
/* Whether all has been done that can be done without a person. */
bool check_quiet(void);

#endif
