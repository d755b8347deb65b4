/*
 * How far a reader got: enough to go on from, also when the tick's own row is gone.
 */
#ifndef PH_CORE_CHECKPOINT_H
#define PH_CORE_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* The place of an event in delivery order; rises strictly along a log, whatever the batching. */
struct ph_position {
    int64_t tick;
    int64_t position;
};

/* <0, 0, >0 as a is before, at or behind b. */
static inline int ph_position_cmp(struct ph_position a, struct ph_position b)
{
    if (a.tick != b.tick) {
        return a.tick < b.tick ? -1 : 1;
    }
    return (a.position > b.position) - (a.position < b.position);
}

#define PH_POSITION_TEXT_MAX 44 /* two int64 and a '-', with '\0' */

/* "TICK-POSITION"; returns its length. */
size_t ph_position_format(struct ph_position at, char out[PH_POSITION_TEXT_MAX]);
/* Numbers below 0 are no position. */
bool ph_position_parse(struct ph_str text, struct ph_position *out) PH_MUST_CHECK;

/* Whether a sink holds a pipeline's checkpoint too (delivery: exactly-once). */
enum ph_in_sink {
    PH_SINK_NEVER,   /* not since this pipeline was last delivered at-least-once */
    PH_SINK_HOLDS,   /* it does: at the start the sink's answer counts */
    PH_SINK_VOID,    /* a person decided (adopt): whatever the sink holds is overwritten */
    PH_SINK_UNASKED, /* a shard that another one's beginning made: new, but for its place */
};

/* Everything up to and including `at` is settled. The texts belong to the source (PostgreSQL:
 * pg_snapshots) and mean nothing to the core. */
struct ph_checkpoint {
    struct ph_position at;
    struct ph_str snapshot;       /* what `at.tick` sees */
    struct ph_str base_snapshot;  /* what is settled whole; equals snapshot once the tick is settled
                                     to its end */
    struct ph_str start_snapshot; /* where the pipeline began */
    struct ph_str log;            /* names the log, so that no other takes it for its own */
    int timeline;
    int64_t epoch;              /* of the lease under which it was written */
    enum ph_in_sink in_sink;    /* of a log's own copy */
    struct ph_position sink_at; /* PH_SINK_HOLDS: the sink was there, or further, when it was
                                   stored */
};

/* A checkpoint that owns its texts. Zero-initialise it. */
struct ph_checkpoint_kept {
    struct ph_checkpoint cp;
    char *text; /* all texts behind each other */
    size_t size;
    bool set;
};

/* Copies cp, whose texts may be the kept ones, growing the room when needed. On failure what was
 * kept stays. */
int ph_checkpoint_keep(struct ph_checkpoint_kept *kept, const struct ph_checkpoint *cp,
                       struct ph_error *err) PH_MUST_CHECK;
void ph_checkpoint_kept_free(struct ph_checkpoint_kept *kept);

#endif
