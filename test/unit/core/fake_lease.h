/*
 * The lease calls of a source driver over a row that a test owns: it says who holds the row, what
 * the calls answer and how long they take.
 */
#ifndef PH_TEST_FAKE_LEASE_H
#define PH_TEST_FAKE_LEASE_H

#include <assert.h>
#include <pthread.h>

#include "base/clock.h"
#include "core/lease.h"

/* The row and what becomes of calls. */
static pthread_mutex_t row_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const struct ph_source_env *env;
    char owner[96]; /* read by the test when the keeper is gone, like last_error */
    char last_error[PH_ERROR_TEXT_MAX];
    _Atomic int64_t epoch, expires_us;
    _Atomic bool others, released, closed;
    _Atomic int open_rc, claim_rc, renew_rc, release_rc, maintain_rc;
    _Atomic int renew_takes_ms, maintain_takes_ms;
    _Atomic int answer_takes_ms; /* behind what claim and renew have done */
    _Atomic int claims, renews, releases, maintains, reports;
    _Atomic int maintains_cut;
    _Atomic int64_t limit_ms;    /* of the last maintain */
    _Atomic bool paused, excess; /* what claim and renew say */
    _Atomic bool say_newer;      /* during a renewal that carries a report */
    struct ph_lease *lease;
} row;

static inline void row_lock(void)
{
    (void)pthread_mutex_lock(&row_mutex);
}

static inline void row_unlock(void)
{
    (void)pthread_mutex_unlock(&row_mutex);
}

static inline int fake_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                            struct ph_error *err)
{
    (void)config;
    row_lock();
    int rc = row.open_rc;
    row.env = env;
    row_unlock();
    *ret_ctx = &row;
    return rc < 0 ? ph_fail(err, rc, "no row to open") : 0;
}

/* As a database would, a call ends when its stop is wanted. */
static inline int called(int rc, struct ph_error *err)
{
    const struct ph_source_env *env = row.env;
    if (env->stop && ph_stop_wanted(env->stop)) {
        return ph_fail(err, PH_E_STOPPED, "asked to stop");
    }
    return rc < 0 ? ph_fail(err, rc, "asked for by the test") : 0;
}

static inline void answer(void)
{
    if (row.answer_takes_ms > 0) {
        (void)ph_stop_wait(NULL, row.answer_takes_ms);
    }
}

static inline int fake_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                             struct ph_lease_said *said, struct ph_error *err)
{
    assert(ctx == &row);
    *said = (struct ph_lease_said){.paused = row.paused};
    row_lock();
    row.claims++;
    int rc = called(row.claim_rc, err);
    if (rc == 0 && !row.others) {
        (void)snprintf(row.owner, sizeof row.owner, "%s", owner);
        row.expires_us = ph_clock_mono_us() + lease_ms * 1000;
        *ret_epoch = ++row.epoch;
        rc = 1;
    }
    row_unlock();
    answer();
    return rc;
}

static inline int fake_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                             const char *last_error, struct ph_lease_said *said,
                             struct ph_error *err)
{
    assert(ctx == &row);
    *said = (struct ph_lease_said){.paused = row.paused, .excess = row.excess};
    int takes_ms = row.renew_takes_ms;
    if (takes_ms > 0) {
        (void)ph_stop_wait(NULL, takes_ms);
    }
    row_lock();
    row.renews++;
    if (last_error && row.say_newer) {
        ph_lease_report(row.lease, "newer");
        row.say_newer = false;
    }
    int rc = row.renew_rc == 0 ? 0 : called(row.renew_rc, err);
    if (rc == 0 && (row.others || epoch != row.epoch || strcmp(owner, row.owner) != 0)) {
        rc = ph_fail(err, PH_E_FENCED, "another's");
    }
    if (rc == 0) {
        row.expires_us = ph_clock_mono_us() + lease_ms * 1000;
        if (last_error) {
            row.reports++;
            (void)snprintf(row.last_error, sizeof row.last_error, "%s", last_error);
        }
    }
    row_unlock();
    answer();
    return rc;
}

static inline int fake_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                               struct ph_error *err)
{
    assert(ctx == &row);
    (void)in_order;
    row_lock();
    row.releases++;
    row.released = epoch == row.epoch && strcmp(owner, row.owner) == 0 && row.release_rc == 0;
    int rc = row.release_rc < 0 ? ph_fail(err, row.release_rc, "asked for by the test") : 0;
    row_unlock();
    return rc;
}

static inline int fake_maintain(void *ctx, int64_t limit_ms, struct ph_error *err)
{
    assert(ctx == &row);
    int takes_ms = row.maintain_takes_ms;
    bool ends = takes_ms <= limit_ms; /* else, as a driver does, it gives up at its limit */
    if (takes_ms > 0) {
        (void)ph_stop_wait(NULL, ends ? takes_ms : (int)limit_ms);
    }
    row_lock();
    row.maintains++;
    row.maintains_cut += !ends;
    row.limit_ms = limit_ms;
    int rc = row.maintain_rc;
    row_unlock();
    return rc < 0 ? ph_fail(err, rc, "asked for by the test") : 0;
}

static inline void fake_close(void *ctx)
{
    assert(ctx == &row);
    row_lock();
    row.closed = true;
    row_unlock();
}

static const struct ph_source_driver fake = {
    .name = "fake",
    .lease_open = fake_open,
    .lease_claim = fake_claim,
    .lease_renew = fake_renew,
    .lease_release = fake_release,
    .maintain = fake_maintain,
    .lease_close = fake_close,
};

#endif
