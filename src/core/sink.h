/*
 * What a sink driver must know. A sink delivers routed events in batch order and gives each one
 * verdict. It never sleeps, counts or logs retries: the core does. All calls of one ctx come from
 * the pipeline's thread; a driver whose client library has threads of its own collects their
 * answers inside poll.
 *
 * DOWN is the return value PH_E_UNAVAILABLE (or PH_E_IO) of submit or poll: no event is charged for
 * it; the sink keeps what it was given, in order, and goes on with it at a later poll. PH_E_FENCED
 * = another owner writes here.
 */
#ifndef PH_CORE_SINK_H
#define PH_CORE_SINK_H

#include "base/thread.h"
#include "core/batch.h"
#include "core/option.h"

/* After a refused event, was anything later of its lane delivered? */
enum ph_refusal_order {
    /* No: gapless. Before such a sink refuses an event, every earlier one of its lane is SENT, and
     * after abandon nothing later of it arrives. */
    PH_REFUSAL_PREFIX,
    PH_REFUSAL_SINGLE, /* perhaps: the core keeps one event of a key in flight */
};

enum ph_sink_caps {
    PH_SINK_RECORDS = 1 << 0,    /* uses topic, key, body and headers: the route must fill them */
    PH_SINK_CHECKPOINT = 1 << 1, /* can keep the checkpoint with the events: exactly-once */
    PH_SINK_WATCHED = 1 << 2,    /* a person or a script waits for what --once writes: there PH_E_IO
                                    ends the pipeline */
};

struct ph_sink_env {
    const char *pipeline;
    int shard;
    const char *uri;
    int shards;            /* shard is one of so many */
    bool exactly_once;     /* keep the checkpoint; only with PH_SINK_CHECKPOINT */
    size_t window_batches; /* batches in flight at most */
    struct ph_stop *stop;
    /* Says something that a person should see once, at warning level (a topic's config cannot be
     * read); never per event. */
    void (*warn)(const char *pipeline, const char *text);
};

/* What verify reads back from a sink, in the order the sink holds it. */
struct ph_record {
    struct ph_uuid id;
    struct ph_position at;
    struct ph_str key;
    uint64_t lane; /* order is only comparable within a lane: a topic's partition, a file */
    bool late;     /* redriven or scheduled: it keeps no order */
};

struct ph_sink_driver {
    const char *name;    /* scheme of its URIs */
    const char *summary; /* one line for --help */
    const struct ph_option *options;
    size_t config_size;
    unsigned caps; /* enum ph_sink_caps */
    enum ph_refusal_order refusal_order;

    int (*open)(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                struct ph_error *err);
    /* With exactly_once, at the beginning of each session: shuts out whoever wrote before, then the
     * sink's own answer to "how far are you": 1 and *ret (texts live until the next call), 0 when
     * it has none. NULL without PH_SINK_CHECKPOINT. */
    int (*resume)(void *ctx, struct ph_checkpoint *ret, struct ph_error *err);
    /* Then stores the checkpoint from which the session goes on; its log, timeline, epoch and
     * start_snapshot belong to each later one too. `anew`: what else the sink knows of this
     * pipeline (rows that were sent) is void. NULL without PH_SINK_CHECKPOINT. */
    int (*begin)(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err);
    /* Takes the batch: its events, in order, behind those of earlier batches. The batch stays valid
     * until its last verdict or abandon. At most window_batches are in flight. */
    int (*submit)(void *ctx, struct ph_batch *batch, struct ph_error *err);
    /* Moves things on and writes verdicts with ph_batch_verdict, waiting at most timeout_ms for the
     * first. 0 or an error. After a refusal (RETRY or REJECT) the sink gives no further verdict and
     * sends nothing more until abandon. */
    int (*poll)(void *ctx, int timeout_ms, struct ph_error *err);
    /* Where the checkpoint is that it last stored. NULL without PH_SINK_CHECKPOINT. */
    struct ph_position (*kept_at)(void *ctx);
    /* A row that came due and was sent is gone from the source, so that it cannot come again; `at`
     * NULL: all of them are. May be NULL. */
    void (*row_gone)(void *ctx, const struct ph_position *at);
    /* A descriptor that is readable when poll has something to do, or -1: then the core polls every
     * few ms. */
    int (*fd)(void *ctx);
    /* Forgets all batches: after it no verdict of an old batch can arrive. What was on its way may
     * still be delivered. */
    void (*abandon)(void *ctx);
    void (*close)(void *ctx);

    /* For verify: calls each with every record the sink holds for these topics (files: one), until
     * it returns non-zero (then that is returned) or the end as of the call. NULL when the sink
     * cannot be read back. */
    int (*scan)(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                void *arg, struct ph_error *err);
};

/* The driver for a URI; NULL when none takes it. */
const struct ph_sink_driver *ph_sink_find(const char *uri);
/* All drivers, ended by NULL. */
extern const struct ph_sink_driver *const ph_sink_drivers[];

#endif
