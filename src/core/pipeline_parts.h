/*
 * Inside a pipeline: what its files share. pipeline.c decides when to open again and when to give
 * up; pipeline_session.c finds where to go on; pipeline_flow.c is the loop.
 */
#ifndef PH_CORE_PIPELINE_PARTS_H
#define PH_CORE_PIPELINE_PARTS_H

#include "core/lease.h"
#include "core/pipeline.h"
#include "core/retry.h"

/* An event that stops the pipeline, once all before it is settled. */
struct ph_refusal {
    bool set;
    struct ph_position at;
    struct ph_uuid id;
    enum ph_verdict verdict;
    char cause[PH_ERROR_TEXT_MAX / 2];
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

    struct ph_checkpoint_kept settled; /* all up to here is settled */
    char *start_snapshot;              /* where the pipeline began; owned */
    bool dirty;                        /* settled is ahead of what was stored */
    int64_t settle_due_us;
    bool skip_done;
    bool was_open; /* the source was open before: what is a standby now may be a failover under way
                    */

    struct ph_backoff source_backoff, sink_backoff;
    bool source_lost, sink_down; /* said once; cleared when it is back */
    bool sink_hopeless;          /* nobody would wait until it is back */
    int64_t sink_due_us;         /* while it is down: not before */
    struct ph_refusal refusal;
    struct ph_pipeline_metrics metrics;
};

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

/* Runs the loop until stop (PH_E_STOPPED), --once is done (0) or an error. */
int ph__flow_run(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;
/* Lets what is in flight end within timeout_ms, stores the checkpoint, and takes all batches back.
 */
void ph__flow_drain(struct ph_pipeline *p, int64_t timeout_ms);
/* Stores the settled checkpoint now, waiting for it. */
int ph__flow_save_now(struct ph_pipeline *p, struct ph_error *err) PH_MUST_CHECK;

#endif
