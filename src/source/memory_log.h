/*
 * Inside the memory source: the log (memory_log.c) as its driver (memory.c) sees it. What takes a
 * log needs its lock held, unless it says otherwise.
 */
#ifndef PH_SOURCE_MEMORY_LOG_H
#define PH_SOURCE_MEMORY_LOG_H

#include <pthread.h>

#include "source/memory.h"

#define PH_MEMORY_ROWS_MAX     64
#define PH_MEMORY_SNAPSHOT_MAX 48

struct ph_memory_tick {
    int64_t tick, made_us;
    char snapshot[PH_MEMORY_SNAPSHOT_MAX]; /* "TICK.HISTORY" */
};

struct ph_memory_event {
    struct ph_event event; /* its texts are slices of text; span is not set */
    int64_t tick;          /* 0: no tick has it yet */
    char *text;
};

/* A parked row, with a copy of its event. */
struct ph_memory_parked {
    struct ph_memory_event kept;
    enum ph_park_state state;
    struct ph_position queue; /* its place in its key's queue */
    char *key;                /* NULL: none */
    int attempts;
    int64_t next_us; /* wall clock; 0: it waits for others or for a person */
    bool passed, gap_due, discarded;
};

/* What the log keeps for one pipeline shard. */
struct ph_memory_row {
    char *pipeline;
    int shard;
    int64_t epoch; /* below which no checkpoint is taken */
    struct ph_checkpoint_kept checkpoint;
    char *owner; /* of the lease; NULL: free */
    int64_t lease_epoch, expires_us;
    char *last_error;
    struct ph_memory_parked *parked;
    size_t parked_count, parked_room;
    int64_t acts; /* of people */
    bool paused;
};

struct ph_memory_fault {
    unsigned after, times, stall;
    int code;
};

struct ph_memory_reader {
    int fd; /* an eventfd, told of new events */
    struct ph_memory_reader *next;
};

struct ph_memory_log {
    pthread_mutex_t lock;
    char *name;
    unsigned users;             /* guarded by the registry's lock */
    struct ph_memory_log *next; /* likewise */
    struct ph_memory_event *events;
    size_t event_count, event_room;
    size_t told; /* events that belong to a tick: the first ones */
    struct ph_memory_tick *ticks;
    size_t tick_count, tick_room;
    int64_t position, tick, cleared; /* last used; the last tick that was cleared */
    int timeline, history;
    bool manual_ticks;
    struct ph_memory_row rows[PH_MEMORY_ROWS_MAX];
    size_t row_count;
    struct ph_memory_fault faults[PH_MEMORY_CALLS];
    struct ph_memory_reader *readers;
};

/* The log's mutex; and the error when there is no memory. */
void ph__memory_lock(struct ph_memory_log *log);
void ph__memory_unlock(struct ph_memory_log *log);
int ph__memory_no_room(struct ph_error *err);

/* The log that a URI names, got for the caller; takes no lock of the log. PH_E_CONFIG when no test
 * has made it. */
int ph__memory_log_find(const char *uri, struct ph_memory_log **ret, struct ph_error *err);

/* The row of a pipeline shard, a new one when there is none; NULL: no memory or too many. */
struct ph_memory_row *ph__memory_row(struct ph_memory_log *log, const char *pipeline, int shard);
/* Like ph_memory_log_tick. */
int64_t ph__memory_tick(struct ph_memory_log *log);
/* The newest tick of at most that number, or NULL; the newest made before a time, or NULL. */
const struct ph_memory_tick *ph__memory_tick_at(const struct ph_memory_log *log, int64_t tick);
const struct ph_memory_tick *ph__memory_tick_before(const struct ph_memory_log *log,
                                                    int64_t time_us);
/* The index of the first told event behind a position. */
size_t ph__memory_behind(const struct ph_memory_log *log, struct ph_position at);
/* Counts a call; fails when a test asked for it. */
int ph__memory_call(struct ph_memory_log *log, enum ph_memory_call call, struct ph_error *err);

/* A copy of an event, as an append makes it; false without memory. Frees what it owns. */
bool ph__memory_copy(struct ph_memory_event *out, const struct ph_event *event, int64_t tick);
/* Makes room for one more of size bytes; false without memory. */
bool ph__memory_room(void **array, size_t count, size_t *room, size_t size);
/* Copies an event's texts into the batch; false without memory. */
bool ph__memory_lend(struct ph_batch *batch, const struct ph_memory_event *kept,
                     struct ph_event *out);

/* The parked rows, in memory_park.c. */
int ph__memory_held(struct ph_memory_row *row, int (*each)(void *arg, const struct ph_held *held),
                    void *arg, struct ph_park_totals *ret);
int ph__memory_park(struct ph_memory_log *log, struct ph_memory_row *row,
                    const struct ph_park_change *changes, size_t count, struct ph_error *err);
/* A copy of changes and their texts in one block; NULL without memory. */
struct ph_park_change *ph__memory_changes(const struct ph_park_change *changes, size_t count);
int ph__memory_due(struct ph_memory_row *row, struct ph_batch *batch, size_t bytes_max,
                   struct ph_due *ret, struct ph_error *err);
void ph__memory_parked_free(struct ph_memory_row *row);

/* The lease calls of the driver, in memory_lease.c. */
int ph__memory_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                          struct ph_error *err);
int ph__memory_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                           struct ph_lease_said *said, struct ph_error *err);
int ph__memory_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                           const char *last_error, struct ph_lease_said *said,
                           struct ph_error *err);
int ph__memory_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                             struct ph_error *err);
void ph__memory_lease_close(void *ctx);

#endif
