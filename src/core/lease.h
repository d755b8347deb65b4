/*
 * The lease of one pipeline shard and the thread that keeps it. The lease is a row judged by the
 * database's clock; the owner judges itself by CLOCK_BOOTTIME from before it asked, less a margin,
 * so it always believes in a shorter lease than the database does. The keeper also clears settled
 * events (maintain) and stores the last error.
 */
#ifndef PH_CORE_LEASE_H
#define PH_CORE_LEASE_H

#include <stdbool.h>

#include "core/source.h"

struct ph_lease;

struct ph_lease_config {
    const struct ph_source_driver *driver;
    const void *driver_config;
    const struct ph_source_env *env;
    int64_t lease_ms;    /* how long a lease lasts without renewal */
    int64_t maintain_ms; /* how often maintain runs; 0 = never */
};

/* Starts the keeper thread, which claims the lease as soon as it is free. config is copied. */
int ph_lease_start(const struct ph_lease_config *config, struct ph_lease **ret,
                   struct ph_error *err) PH_MUST_CHECK;
/* Releases the lease if it is held, stops the thread. Accepts NULL. */
void ph_lease_stop(struct ph_lease *lease);

/* The epoch while the lease is held with time to spare, else 0. Cheap: two atomic reads. */
int64_t ph_lease_epoch(const struct ph_lease *lease);
/* Waits until held, the stop is wanted or timeout_ms is over; the epoch or 0. */
int64_t ph_lease_wait(struct ph_lease *lease, int timeout_ms);
/* Whether, at the last claim or renewal, a person had paused the pipeline; and whether this
 * instance had more than its share of the shards. */
bool ph_lease_paused(const struct ph_lease *lease);
bool ph_lease_excess(const struct ph_lease *lease);
/* Releases the lease soon, and claims anew. */
void ph_lease_yield(struct ph_lease *lease, int64_t epoch);
/* Before yield or stop: whether the log's checkpoint says all that the sink has (see lease_release
 * of a source driver); so until it is told otherwise. */
void ph_lease_in_order(struct ph_lease *lease, bool in_order);
/* The name of this process among the instances, the same for all its leases. Thread-safe. */
const char *ph_lease_instance(void);
/* Why the last attempt to claim failed: its code and text in err; 0 when it did not fail (it may be
 * another's). */
int ph_lease_trouble(struct ph_lease *lease, struct ph_error *err);
/* The pipeline lost it in another way (a fenced write): claim anew. */
void ph_lease_drop(struct ph_lease *lease, int64_t epoch);
/* What the status command shows as last error; copied. */
void ph_lease_report(struct ph_lease *lease, const char *text);

#endif
