/*
 * The memory source's leases: one row for each pipeline shard, judged by the program's own clock.
 * Called from the keeper's thread through the driver in memory.c.
 * Promise: the epoch only grows; nobody but the owner under the newest epoch renews or releases.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/sys.h"
#include "source/memory_log.h"

struct memory_lease {
    const struct ph_source_env *env;
    struct ph_memory_log *log;
};

int ph__memory_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                          struct ph_error *err)
{
    (void)config;
    assert(env && ret_ctx);
    struct memory_lease *lease = ph_mem_zero(1, sizeof *lease);
    if (!lease) {
        return ph__memory_no_room(err);
    }
    lease->env = env;
    int rc = ph__memory_log_find(env->uri, &lease->log, err);
    if (rc < 0) {
        ph_mem_free(lease);
        return rc;
    }
    *ret_ctx = lease;
    return 0;
}

void ph__memory_lease_close(void *ctx)
{
    struct memory_lease *lease = ctx;
    if (lease) {
        ph_memory_log_put(lease->log);
        ph_mem_free(lease);
    }
}

/* Puts a copy of text, or NULL, in place of *at. */
static bool replace(char **at, const char *text)
{
    char *copy = text ? ph_mem_strdup(text) : NULL;
    if (text && !copy) {
        return false;
    }
    ph_mem_free(*at);
    *at = copy;
    return true;
}

static bool is_owner(const struct ph_memory_row *row, const char *owner)
{
    return row->owner && strcmp(row->owner, owner) == 0;
}

static int claim_locked(struct memory_lease *lease, const char *owner, int64_t lease_ms,
                        int64_t *ret_epoch, struct ph_lease_said *said, struct ph_error *err)
{
    int rc = ph__memory_call(lease->log, PH_MEMORY_CLAIM, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_memory_row *row = ph__memory_row(lease->log, lease->env->pipeline, lease->env->shard);
    if (!row) {
        return ph__memory_no_room(err);
    }
    int64_t now_us = ph_clock_mono_us();
    if (row->owner && !is_owner(row, owner) && now_us < row->expires_us) {
        return 0;
    }
    if (!replace(&row->owner, owner)) {
        return ph__memory_no_room(err);
    }
    row->expires_us = now_us + lease_ms * 1000;
    *ret_epoch = ++row->lease_epoch;
    if (said) {
        said->paused = row->paused;
    }
    return 1;
}

int ph__memory_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                           struct ph_lease_said *said, struct ph_error *err)
{
    struct memory_lease *lease = ctx;
    assert(owner && ret_epoch);
    ph__memory_lock(lease->log);
    int rc = claim_locked(lease, owner, lease_ms, ret_epoch, said, err);
    ph__memory_unlock(lease->log);
    return rc;
}

/* The row while owner holds it under epoch, else NULL and PH_E_FENCED in err. */
static struct ph_memory_row *owned_row(struct memory_lease *lease, const char *owner, int64_t epoch,
                                       struct ph_error *err)
{
    struct ph_memory_row *row = ph__memory_row(lease->log, lease->env->pipeline, lease->env->shard);
    if (row && is_owner(row, owner) && row->lease_epoch == epoch) {
        return row;
    }
    (void)ph_fail(err, PH_E_FENCED, "pipeline %s: the lease of epoch %" PRId64 " is not %s's",
                  lease->env->pipeline, epoch, owner);
    return NULL;
}

int ph__memory_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                           const char *last_error, struct ph_lease_said *said, struct ph_error *err)
{
    struct memory_lease *lease = ctx;
    ph__memory_lock(lease->log);
    int rc = ph__memory_call(lease->log, PH_MEMORY_RENEW, err);
    struct ph_memory_row *row = rc == 0 ? owned_row(lease, owner, epoch, err) : NULL;
    if (row) {
        row->expires_us = ph_clock_mono_us() + lease_ms * 1000;
        if (said) {
            said->paused = row->paused;
        }
        rc = last_error && !replace(&row->last_error, last_error) ? ph__memory_no_room(err) : 0;
    } else if (rc == 0) {
        rc = PH_E_FENCED;
    }
    ph__memory_unlock(lease->log);
    return rc;
}

int ph__memory_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                             struct ph_error *err)
{
    struct memory_lease *lease = ctx;
    (void)in_order; /* one shard for ever */
    ph__memory_lock(lease->log);
    struct ph_memory_row *row = owned_row(lease, owner, epoch, err);
    if (row) {
        (void)replace(&row->owner, NULL);
    }
    ph__memory_unlock(lease->log);
    return row ? 0 : PH_E_FENCED;
}
