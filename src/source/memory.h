/*
 * The memory source: a log inside this program, for tests and simulation. A test gets a log by
 * name, writes to it, and a pipeline reads it from the URI memory:NAME. Ticks, checkpoints, leases
 * and epochs work as in a database. Everything here may be called from any thread.
 */
#ifndef PH_SOURCE_MEMORY_H
#define PH_SOURCE_MEMORY_H

#include "core/source.h"

struct ph_memory_log;

/* The log of that name, made when there is none; NULL without memory. It lives as long as somebody
 * has it or reads it; each get needs a put, which accepts NULL. */
struct ph_memory_log *ph_memory_log_get(const char *name) PH_MUST_CHECK;
void ph_memory_log_put(struct ph_memory_log *log);

/* Adds a committed event, of which the source's fields are copied: a zero id becomes a random one,
 * position 0 the next, created_us 0 now; span is ignored. A position of its own must not be below
 * 1; inside a tick events go in the order of their positions. Returns the position or PH_E_NOMEM.
 */
int64_t ph_memory_log_append(struct ph_memory_log *log, const struct ph_event *event);
/* Makes a tick of what was added since the last, also of nothing, and returns its number or
 * PH_E_NOMEM. A reader does this itself when it finds untold events, unless ticks are manual. */
int64_t ph_memory_log_tick(struct ph_memory_log *log);
void ph_memory_log_manual_ticks(struct ph_memory_log *log, bool manual);

/* Everything behind a tick is gone and a new timeline begins: a failover that lost its tail.
 * INT64_MAX loses nothing. Later ticks have used numbers, but other snapshots. */
void ph_memory_log_fail_over(struct ph_memory_log *log, int64_t tick);
/* Events and ticks up to this one are cleared, as a retention does. */
void ph_memory_log_clear(struct ph_memory_log *log, int64_t tick);

/* --- what a pipeline left --------------------------------------------------------------------- */

/* Copies the stored checkpoint: 1, 0 when there is none, PH_E_NOMEM. */
int ph_memory_log_checkpoint(struct ph_memory_log *log, const char *pipeline, int shard,
                             struct ph_checkpoint_kept *out);
/* A parked row; its key lives until the log changes. */
struct ph_memory_parked_row {
    int64_t position;
    enum ph_park_state state;
    const char *key; /* NULL: none */
    int attempts;
    bool passed, discarded;
};
/* The row of that index, in the order they were made; false when there are not so many. */
bool ph_memory_log_parked(struct ph_memory_log *log, const char *pipeline, int shard, size_t index,
                          struct ph_memory_parked_row *out);
/* --- what people do --------------------------------------------------------------------------- */

/* A dead row is tried again, or left to the archive; false when that event is not dead. */
bool ph_memory_log_redrive(struct ph_memory_log *log, const char *pipeline, int shard,
                           int64_t position);
bool ph_memory_log_discard(struct ph_memory_log *log, const char *pipeline, int shard,
                           int64_t position);
void ph_memory_log_pause(struct ph_memory_log *log, const char *pipeline, int shard, bool paused);

/* The epoch of the lease, 0 when it was never claimed. */
int64_t ph_memory_log_epoch(struct ph_memory_log *log, const char *pipeline, int shard);
/* The lease runs out now, whatever its owner thinks. */
void ph_memory_log_expire(struct ph_memory_log *log, const char *pipeline, int shard);

/* --- what goes wrong -------------------------------------------------------------------------- */

enum ph_memory_call {
    PH_MEMORY_OPEN,
    PH_MEMORY_LOAD,
    PH_MEMORY_FETCH,
    PH_MEMORY_SETTLE,  /* fails before the checkpoint is stored */
    PH_MEMORY_SETTLED, /* fails after it was stored: the answer is lost */
    PH_MEMORY_PARK,    /* before parked rows are changed */
    PH_MEMORY_PARKED,  /* after */
    PH_MEMORY_DUE,
    PH_MEMORY_CLAIM,
    PH_MEMORY_RENEW,
    PH_MEMORY_CALLS,
};

/* After `after` more of these calls, the next `times` fail with code. Replaces what was said before
 * about the call; times 0 ends it. */
void ph_memory_log_fail(struct ph_memory_log *log, enum ph_memory_call call, unsigned after,
                        unsigned times, int code);
/* The next `times` calls find nothing (PH_MEMORY_FETCH), or settle takes that many looks (of a
 * millisecond, when they may wait) until it is stored (PH_MEMORY_SETTLE). */
void ph_memory_log_stall(struct ph_memory_log *log, enum ph_memory_call call, unsigned times);

extern const struct ph_source_driver ph_source_memory;

#endif
