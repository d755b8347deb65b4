/*
 * What people's commands ask of a database that holds a log: install it, put events in, look at it,
 * tidy it. The relay's own path is core/source.h; this is the other one. One driver a database,
 * named like the source of the same URIs; registry.c names them all.
 *
 * All calls of one ctx come from one thread and end within the driver's own time limit. Texts given
 * to a callback live until it returns. Errors as in base/err.h: PH_E_CONFIG where the schema is
 * missing or a person must act, PH_E_UNAVAILABLE where the database is, PH_E_DATA for what it will
 * not store.
 */
#ifndef PH_OUTBOX_OUTBOX_H
#define PH_OUTBOX_OUTBOX_H

#include "base/buf.h"
#include "base/uuid.h"
#include "core/checkpoint.h"

struct ph_outbox_init {
    bool dry_run; /* says the SQL and changes nothing */
    bool roles;   /* also makes the roles; PH_E_CONFIG where the database has none */
};

/* An event to be published. Texts are UTF-8. */
struct ph_outbox_event {
    struct ph_str aggregate_type, aggregate_id, event_type;
    struct ph_str payload; /* raw JSON; ptr NULL = tombstone */
    struct ph_str headers; /* a raw JSON object whose values are strings; ptr NULL = none */
    struct ph_str id;      /* a UUID; ptr NULL = the database draws one */
};

/* One pipeline shard. Times are ISO 8601 in UTC, numbers decimal, NULL is what is not known. */
struct ph_outbox_status {
    const char *pipeline, *shard;
    const char *tick, *position; /* NULL: not begun */
    const char *lag_events, *lag_seconds;
    bool lag_estimated;
    const char *owner, *epoch, *expires_at;
    bool owned; /* the lease has not run out */
    const char *last_error, *last_error_at, *updated_at;
    const char *still_seconds; /* it has events to deliver and has not moved for this long;
                                  NULL without such events. The caller judges whether it is long */
    const char *parked, *dead, *scheduled; /* rows of this shard beside the log */
    const char *paused_at; /* a person paused the pipeline; NULL: it is not paused */
    const char *paused_by, *paused_reason;
};

/* Which rows beside the log. NULL: any. */
struct ph_outbox_filter {
    const char *pipeline;
    const char *state; /* parked, dead, scheduled, discarded or skipped; parked_list only */
    const char *event_type, *key, *event_id;
    const char *error_like; /* a pattern as LIKE takes it, \ before a % or _ that is meant, case
                               ignored where the letters are ASCII */
    int64_t since_us;       /* failed first at this time or later; 0: any */
    int64_t limit;          /* so many rows at most; parked_list only; 0: all */
    bool content;           /* with headers and payload; parked_list only */
};

/* One such row. Texts as in ph_outbox_status. */
struct ph_outbox_parked {
    const char *pipeline, *shard;
    const char *state, *attempts;
    bool passed;         /* dead, and its key has gone on without it */
    const char *waiting; /* events in the queue of its key behind it; NULL: it is not a head */
    const char *event_id, *tick, *position;
    const char *aggregate_type, *aggregate_id, *event_type, *created_at;
    const char *key; /* whose order it keeps; NULL: nobody's */
    const char *next_attempt_at, *first_failed_at, *redriven_at, *deliver_after, *last_error;
    struct ph_str headers; /* with content: a JSON object */
    struct ph_str payload; /* with content; ptr NULL: a tombstone */
    bool payload_json;     /* it is JSON text; else bytes of content_type */
    const char *content_type;
};

/* What reshard did. */
struct ph_outbox_resharded {
    int64_t shards_before, shards;
    int64_t parked; /* events that were put beside the log, to come in the order of the log */
};

/* Where a pipeline goes on in a log that a person adopts. */
enum ph_adopt_kind {
    PH_ADOPT_FROM,  /* behind `from` */
    PH_ADOPT_SINCE, /* from the last tick before the first event that was created then or later */
    PH_ADOPT_ALL,   /* from the beginning of what is retained */
    PH_ADOPT_KEEP,  /* from the stored checkpoint as it is */
};

struct ph_outbox_adopt {
    const char *pipeline; /* NULL: all */
    enum ph_adopt_kind kind;
    struct ph_position from;
    int shard; /* the one that goes on behind `from`; -1: the only one */
    int64_t since_us;
    bool dry_run; /* only says what would be done */
};

/* What becomes of one checkpoint. Texts as in ph_outbox_status; places are TICK-POSITION. */
struct ph_outbox_adopted {
    const char *pipeline, *shard;
    bool moved;   /* to where the person said; else it keeps its place */
    bool rebased; /* the log's transaction ids mean nothing here and are replaced */
    const char *from, *to;
    int64_t again, first, skipped; /* events that are sent again, for the first time, not at all */
    int64_t beside;                /* parked, dead and scheduled rows, which stay as they are */
    bool in_sink;                  /* a sink held a checkpoint: it may hold some of these events */
    const char *refused; /* why it would not be done now, where it was only asked for; or NULL */
};

/* A row of the log that the pipeline had settled when verify began. */
struct ph_outbox_row {
    int64_t position;
    struct ph_uuid id;
    bool skipped; /* an operator took it out of the flow */
    struct ph_str aggregate_type, aggregate_id, event_type, headers_json;
};

/* What the log knows about a record in a sink that no settled event explains. */
enum ph_origin {
    PH_ORIGIN_KNOWN, /* it is in the log, but not settled yet, skipped, or not this pipeline's */
    PH_ORIGIN_GONE,  /* it lies where the log may have been cleared */
    PH_ORIGIN_NONE,  /* it would have to be there */
};

struct ph_outbox_question {
    int64_t position;
    struct ph_uuid id;
};

/* What cleanup did, or would do, to one part of the log. */
struct ph_outbox_part {
    const char *name;   /* "outbox bucket 3"; SQLite: "outbox" */
    const char *action; /* cleared, kept, empty, busy; with dry_run: clear instead of cleared */
    const char *reason; /* which reader or rule holds it back, or "settled" */
    int64_t events;     /* in it, about; -1 when not known */
};

/* Who acts on the log and why, for posthorn's audit table. */
struct ph_outbox_act {
    const char *who;    /* user@host */
    const char *reason; /* may be NULL */
};

struct ph_outbox_driver {
    const char *name; /* scheme of its URIs */

    /* Installs the schema or migrates it, in one transaction; appends to said what was done. */
    int (*init)(const char *uri, const struct ph_outbox_init *how, struct ph_buf *said,
                struct ph_error *err);

    /* what = the command, shown to the database's administrator where it can be. */
    int (*open)(const char *uri, const char *what, void **ret_ctx, struct ph_error *err);
    void (*close)(void *ctx); /* rolls back what was begun; accepts NULL */

    /* Publishing: begin, insert as often as wanted, commit. Positions are drawn in the order of the
     * array. After PH_E_DATA *bad is the index of the event at fault, or count when none could be
     * named. After any failure the transaction is lost and another may begin; after a failed commit
     * *unknown says that no answer came. */
    int (*begin)(void *ctx, struct ph_error *err);
    int (*insert)(void *ctx, const struct ph_outbox_event *events, size_t count, size_t *bad,
                  struct ph_error *err);
    int (*commit)(void *ctx, bool *unknown, struct ph_error *err);

    /* Each pipeline shard, or those of one pipeline. each returns 0, or an error that ends it. */
    int (*status)(void *ctx, const char *pipeline,
                  int (*each)(void *arg, const struct ph_outbox_status *status), void *arg,
                  struct ph_error *err);

    /* Verify: fixes the pipeline's checkpoint as of now, PH_E_CONFIG when it has none, and says
     * how many rows the log has, about. */
    int (*verify_begin)(void *ctx, const char *pipeline, int64_t *ret_estimate,
                        struct ph_error *err);
    /* A page of the rows behind *last, in order of position; moves *last. Gives the settled ones,
     * so that a page may give none. 1, 0 at the end of the log, or an error. */
    int (*verify_page)(void *ctx, int64_t *last,
                       int (*each)(void *arg, const struct ph_outbox_row *row), void *arg,
                       struct ph_error *err);
    /* Below which position everything may have been cleared; INT64_MAX: everywhere. This and the
     * next need no verify_begin: verify opens the log anew after a long scan of the sink. */
    int (*verify_oldest)(void *ctx, int64_t *ret, struct ph_error *err);
    /* Answers count questions, at most 1,000. */
    int (*verify_lookup)(void *ctx, const struct ph_outbox_question *questions, size_t count,
                         enum ph_origin *out, struct ph_error *err);

    /* Clears settled events past the retention (retention_ms < 0: the one the log knows); each is
     * told about every part. */
    int (*cleanup)(void *ctx, int64_t retention_ms, bool dry_run,
                   int (*each)(void *arg, const struct ph_outbox_part *part), void *arg,
                   struct ph_error *err);
    /* Forgets a pipeline: its checkpoints and leases, and its parked rows when discard_parked.
     * 1, or 0 when the log knows none of that name. PH_E_CONFIG while an instance owns it, and
     * while it has parked or dead rows and they may not be discarded. */
    int (*forget)(void *ctx, const char *pipeline, bool discard_parked,
                  const struct ph_outbox_act *act, struct ph_error *err);
    /* Replaces payload and headers of all events of one aggregate, in the log and wherever
     * Posthorn keeps a copy; rows, ids and order stay. *ret = how many. */
    int (*erase)(void *ctx, const char *aggregate_type, const char *aggregate_id,
                 const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err);

    /* Rows beside the log, by pipeline, tick and position. */
    int (*parked_list)(void *ctx, const struct ph_outbox_filter *filter,
                       int (*each)(void *arg, const struct ph_outbox_parked *row), void *arg,
                       struct ph_error *err);
    /* Dead rows become parked and are tried again: heads of their key's queue at once, or with
     * rate > 0 so many a second. *ret = how many; dry_run: how many it would be. */
    int (*redrive)(void *ctx, const struct ph_outbox_filter *filter, double rate, bool dry_run,
                   const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err);
    /* Dead rows are given up, and so is the parked head of a queue when the filter has its
     * event_id: the row stays as discarded, its key goes on. */
    int (*discard)(void *ctx, const struct ph_outbox_filter *filter, bool dry_run,
                   const struct ph_outbox_act *act, int64_t *ret, struct ph_error *err);
    /* Pauses a pipeline or resumes it. 1, or 0 when it was so already; PH_E_CONFIG when the log
     * knows none of that name. */
    int (*pause)(void *ctx, const char *pipeline, bool paused, const struct ph_outbox_act *act,
                 struct ph_error *err);
    /* Gives a pipeline another number of shards. PH_E_CONFIG while an instance owns one of them.
     * NULL where a log cannot be shared. */
    int (*reshard)(void *ctx, const char *pipeline, int shards, const struct ph_outbox_act *act,
                   struct ph_outbox_resharded *ret, struct ph_error *err);
    /* Makes the database that the log is in its own, and moves checkpoints; what sinks hold does
     * not count then. PH_E_CONFIG while an instance owns a pipeline that it is about, and where the
     * answer of `how` would lose events. */
    int (*adopt)(void *ctx, const struct ph_outbox_adopt *how, const struct ph_outbox_act *act,
                 int (*each)(void *arg, const struct ph_outbox_adopted *adopted), void *arg,
                 struct ph_error *err);
    /* Puts a line into the audit for an act that changes nothing in the log. detail: a JSON object.
     */
    int (*note)(void *ctx, const char *what, const struct ph_outbox_act *act, struct ph_buf *detail,
                struct ph_error *err);
};

/* The driver for a URI; NULL when none takes it. */
const struct ph_outbox_driver *ph_outbox_find(const char *uri);
/* All drivers, ended by NULL. */
extern const struct ph_outbox_driver *const ph_outbox_drivers[];

#endif
