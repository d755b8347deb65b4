/*
 * What a source driver must know. A source reads one log for one pipeline and keeps that pipeline's
 * checkpoint and lease beside it. Type (const struct ph_source_driver) and instance (the ctx that
 * open returns) are two things.
 *
 * All calls of one ctx come from the pipeline's thread; the lease calls have a ctx of their own and
 * come from the keeper's thread. No call may block longer than the driver's own time limit, fetch
 * and settle not at all. Errors: PH_E_UNAVAILABLE = lost the log, the core closes and opens again
 * with backoff; PH_E_FENCED = another owner; PH_E_DIVERGED = checkpoint and log do not belong
 * together; PH_E_CONFIG, PH_E_DATA = a person must act.
 */
#ifndef PH_CORE_SOURCE_H
#define PH_CORE_SOURCE_H

#include "base/thread.h"
#include "core/batch.h"
#include "core/checkpoint.h"
#include "core/option.h"
#include "core/park.h"

/* Where a pipeline without a checkpoint begins. */
enum ph_start_kind { PH_START_EARLIEST, PH_START_LATEST, PH_START_TIME };

struct ph_start {
    enum ph_start_kind kind;
    int64_t time_us; /* for PH_START_TIME: begin at the last tick made before it */
};

/* What a driver is told about its surroundings; outlives the ctx. */
struct ph_source_env {
    const char *pipeline;
    int shard;            /* of */
    int shards;           /* so many; a source that cannot share its log refuses more than 1 */
    const char *instance; /* this process, as one of those that share the shards; not NULL */
    const char *uri;
    size_t batch_events;  /* events per batch at most */
    size_t batch_bytes;   /* bytes per batch at most, but always at least one event */
    struct ph_stop *stop; /* a wait must end when it is wanted; may be NULL */
};

/* What fetch found. */
enum ph_fetch {
    PH_FETCH_NOTHING, /* wait for fd or due_us, then ask again */
    PH_FETCH_BATCH, /* the batch is filled: events, or only an end that moves an idle checkpoint */
};

struct ph_lag {
    int64_t events;
    bool estimated; /* events is an estimate */
    double seconds; /* age of the oldest unsettled event; 0 when there is none */
};

/* What the log says to a lease that is claimed or renewed. */
struct ph_lease_said {
    bool paused; /* a person paused the pipeline: nothing is submitted until it is resumed */
    bool excess; /* this instance has more than its share of the shards: give this one up */
};

struct ph_source_driver {
    const char *name;    /* scheme of its URIs */
    const char *summary; /* one line for --help */
    const struct ph_option *options;
    size_t config_size;

    /* Connects, checks identity, schema and role, and refuses in one sentence what it cannot keep
     * its promises on. */
    int (*open)(const struct ph_source_env *env, const void *config, void **ret_ctx,
                struct ph_error *err);
    /* The timeline of the log's present history (a promotion starts a new one); NULL when the log
     * has none. */
    int (*timeline)(void *ctx);
    /* The pipeline's stored checkpoint, claimed for this epoch: 1 and *ret, 0 when there is none.
     * The texts live until the next call. After it no write of an older epoch succeeds. */
    int (*load)(void *ctx, int64_t epoch, struct ph_checkpoint *ret, struct ph_error *err);
    /* Whether a checkpoint that a sink holds belongs to this log, timeline included: 1 yes, 0 no.
     */
    int (*contains)(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err);
    /* The checkpoint of a new pipeline. */
    int (*begin)(void *ctx, const struct ph_start *start, struct ph_checkpoint *ret,
                 struct ph_error *err);
    /* Makes the next fetch begin behind cp. */
    int (*seek)(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err);
    /* Fills an empty batch, or goes on doing so: one of enum ph_fetch, or an error. After a batch
     * the next one is asked from the log at once, so that reading overlaps delivering. */
    int (*fetch)(void *ctx, struct ph_batch *batch, struct ph_error *err);
    /* For the wait after PH_FETCH_NOTHING: a descriptor to poll for reading, or -1; and the mono
     * time in us at which to ask again anyway. */
    int (*fd)(void *ctx);
    int64_t (*due_us)(void *ctx);
    /* The log is read to its end as of the last probe: --once may stop when all is settled. */
    bool (*at_end)(void *ctx);
    /* Begins to store a checkpoint; at most one is under way, a second call before the first ended
     * returns 0 ("not taken"). 1 = taken. fd and settled tell when it is stored. */
    int (*settle)(void *ctx, const struct ph_checkpoint *cp, struct ph_error *err);
    /* 1 when no settle is under way, 0 when one is; waits up to timeout_ms. PH_E_FENCED when a
     * newer epoch refused it. */
    int (*settled)(void *ctx, int timeout_ms, struct ph_error *err);

    /* Tells every key that has rows in its queue, or a gap that nobody was told of, and every row,
     * whatever its state, that the stored checkpoint has not passed: the core must not submit its
     * event again. Counts the rows. The texts live until each returns. */
    int (*held)(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
                struct ph_park_totals *ret, struct ph_error *err);
    /* Begins to store changes, all or none, in their order, under this epoch; like settle: 1 =
     * taken, 0 = a settle or park is under way. changes and their texts are not used after the
     * call. settled tells when they are stored. */
    int (*park)(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
                struct ph_error *err);
    /* Reads the rows that are due into an empty batch, or goes on doing so: heads by the time they
     * came due, each with the rows behind it in its queue, and scheduled rows; each event with its
     * ph_park_row. PH_FETCH_BATCH = answered, perhaps with no event; PH_FETCH_NOTHING = not yet.
     * Only rows that the stored checkpoint has passed. PH_E_FENCED when a newer epoch has begun:
     * its rows belong to keys of which this owner knows nothing. */
    int (*due)(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err);
    void (*close)(void *ctx);

    /* The lease of the pipeline: one row with an epoch that only grows, judged by the log's clock.
     */
    int (*lease_open)(const struct ph_source_env *env, const void *config, void **ret_ctx,
                      struct ph_error *err);
    /* 1 and the new epoch when the lease was free, run out or ours; 0 when another owner holds it,
     * or when it is free but this instance has its share of the shards. */
    int (*lease_claim)(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                       struct ph_lease_said *said, struct ph_error *err);
    /* Extends it and stores last_error (NULL: leave). PH_E_FENCED when it is no longer ours. */
    int (*lease_renew)(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                       const char *last_error, struct ph_lease_said *said, struct ph_error *err);
    /* Lets the next owner in at once. in_order: the log's checkpoint says all that the sink has, so
     * that a person may change the shards; false where the sink may be further. */
    int (*lease_release)(void *ctx, const char *owner, int64_t epoch, bool in_order,
                         struct ph_error *err);
    /* Clears settled events past their retention, as far as it gets in limit_ms; NULL when the
     * driver has nothing to clear. The lease is not renewed meanwhile, so limit_ms is a share of
     * what is left of it: a call must not last longer. */
    int (*maintain)(void *ctx, int64_t limit_ms, struct ph_error *err);
    void (*lease_close)(void *ctx);
};

/* The driver for a URI; NULL when none takes it. */
const struct ph_source_driver *ph_source_find(const char *uri);
/* All drivers, ended by NULL. */
extern const struct ph_source_driver *const ph_source_drivers[];

#endif
