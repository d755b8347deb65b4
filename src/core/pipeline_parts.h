/*
 * Inside a pipeline: what its files share. pipeline.c decides when to open again and when to give
 * up; pipeline_session.c finds where to go on; pipeline_flow.c is the loop; pipeline_park.c takes
 * events out of the flow and brings them back; pipeline_told.c tells the source about it.
 */
#ifndef PH_CORE_PIPELINE_PARTS_H
#define PH_CORE_PIPELINE_PARTS_H

#include "core/breaker.h"
#include "core/hold.h"
#include "core/lease.h"
#include "core/pipeline.h"
#include "core/retry.h"

#define PH_PARK_CHANGES_MAX 1000 /* told to the source at once */
#define PH_PARK_LOOK_MS     500  /* between two looks at rows that people may have changed */

/* Events beside the flow. */
struct ph_parking {
    struct ph_hold hold;       /* keys whose later events must wait */
    struct ph_position *ahead; /* rows whose events the log brings again, in order */
    size_t ahead_count, ahead_room;
    struct ph_park_totals totals; /* rows, as far as this session knows */
    struct ph_park_change *changes;
    bool telling;           /* changes are being stored */
    size_t leaving;         /* events that left the flow and whose rows are not stored yet */
    size_t failed;          /* those that failed: nothing is submitted meanwhile */
    struct ph_batch *batch; /* for rows that are due; not one of the pipeline's others */
    bool asking;            /* it is being filled */
    bool in_flight;
    bool nothing_due;  /* the last answer had no event, and nothing has changed since */
    int64_t due_us;    /* when to ask next */
    int64_t said_us;   /* when a failed event was last said */
    int64_t not_said;  /* and how many were not since */
    bool full;         /* park_max is reached; said once */
    bool stop;         /* on_dead: stop has found a dead event */
    char stop_at[256]; /* which one, and why */
};

struct ph_batch_queue {
    struct ph_batch *head, *tail;
    size_t count;
};

struct ph_pipeline {
    const struct ph_pipeline_config *config;
    const struct ph_pipeline_options *options;
    struct ph_stop *stop;
    struct ph_route *route;
    struct ph_source_env source_env;
    struct ph_sink_env sink_env;
    struct ph_lease *lease;
    void *source, *sink; /* instances; NULL when not open */
    int64_t epoch;       /* under which this session works */

    /* Every batch is in exactly one place: free, filling, ready (read, not submitted) or in flight.
     */
    struct ph_batch_queue free, ready, flight;
    struct ph_batch *filling;
    size_t window; /* batches in flight at most */

    struct ph_checkpoint_kept settled; /* all up to here is settled */
    char *start_snapshot;              /* where the pipeline began; owned */
    char *log;                         /* the log's name, as of this session; owned */
    bool is_new;                       /* the log had no checkpoint of this pipeline */
    bool dirty;                        /* settled is ahead of what was stored */
    bool placed; /* this session knows from where it goes on: only then may it store anything */
    int64_t settle_due_us;
    bool was_open; /* the source was open before: what is a standby now may be a failover under way
                    */

    struct ph_backoff source_backoff;
    struct ph_breaker breaker; /* of the sink */
    bool source_lost;          /* said once; cleared when it is back */
    bool sink_hopeless;        /* nobody would wait until it is back */
    bool paused;               /* said once */
    int64_t rate_due_us;       /* with a rate: the next submit not before */
    struct ph_parking parking;
    struct ph_pipeline_metrics metrics;
};

/* Whether the sink keeps the checkpoint. */
static inline bool ph__keeps_checkpoint(const struct ph_pipeline *p)
{
    return p->options->delivery == PH_EXACTLY_ONCE;
}

static inline void ph_batch_queue_put(struct ph_batch_queue *queue, struct ph_batch *batch)
{
    batch->next = NULL;
    if (queue->tail) {
        queue->tail->next = batch;
    } else {
        queue->head = batch;
    }
    queue->tail = batch;
    queue->count++;
}

static inline struct ph_batch *ph_batch_queue_take(struct ph_batch_queue *queue)
{
    struct ph_batch *batch = queue->head;
    if (batch) {
        queue->head = batch->next;
        queue->tail = queue->head ? queue->tail : NULL;
        queue->count--;
        batch->next = NULL;
    }
    return batch;
}

/* Opens what is not open, takes the lease, and puts the source behind the right checkpoint. 0, or
 * why not. */
int ph__session_open(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Closes the source; the sink stays for the next session. */
void ph__session_close(struct ph_pipeline *p);

#define PH_FLOW_GIVE_UP 1 /* another instance is to have this shard */

/* Runs the loop until stop (PH_E_STOPPED), --once is done (0), PH_FLOW_GIVE_UP or an error. */
int ph__flow_run(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Lets what is in flight end within timeout_ms, stores the checkpoint, and takes all batches back.
 */
void ph__flow_drain(struct ph_pipeline *p, int64_t timeout_ms);
/* Stores the settled checkpoint now, waiting for it. */
int ph__flow_save_now(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;

/* The sink is down, or counts as such: 0, or the error when nobody would wait for it. */
int ph__flow_sink_failed(struct ph_pipeline *p, int rc, struct ph_error *err) PH_MUST_CHECK;
/* Matches and routes a batch, once. */
int ph__flow_route(struct ph_pipeline *p, struct ph_batch *batch,
                   struct ph_error *err) PH_MUST_CHECK;

/* --- pipeline_park.c: out of the flow and back ------------------------------------------------ */

/* Learns which keys wait, at the beginning of a session and whenever people have changed it. */
int ph__park_load(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Takes out of a routed batch what may not be submitted: what was refused already, what waits
 * behind an event of its key, what is scheduled, what has its row already. */
int ph__park_screen(struct ph_pipeline *p, struct ph_batch *batch,
                    struct ph_error *err) PH_MUST_CHECK;
/* Whether park_max leaves room for the rows that a batch may bring. When not, it is not to enter
 * the flow; what is in it already may go beyond the bound. */
bool ph__park_has_room(struct ph_pipeline *p, const struct ph_batch *batch);
/* Takes events that the sink refused out of the flow, and those that must wait for them. */
int ph__park_refused(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Brings rows back that are due. 1 when something moved. */
int ph__park_due(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Everything is forgotten; a next session learns it anew. */
void ph__park_reset(struct ph_pipeline *p);
void ph__park_free(struct ph_pipeline *p);

/* --- pipeline_told.c: what the source must know ----------------------------------------------- */

/* Whether there is something that the source could be told now. */
bool ph__told_wanted(struct ph_pipeline *p);
/* Begins to tell the source what became of events outside the log's order. 1 when it began. */
int ph__told_begin(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Whether the source is free for the next write, waiting at most timeout_ms: 1, 0, or an error.
 * Takes note of what it has stored. */
int ph__told_settled(struct ph_pipeline *p, int timeout_ms, struct ph_error *err) PH_MUST_CHECK;

#endif
