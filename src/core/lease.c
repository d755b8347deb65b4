/*
 * The keeper: one thread that claims, renews and releases the lease of one pipeline shard, stores
 * its last error, and clears settled events now and then. Promise: ph_lease_epoch is non-zero only
 * while the database, by its own clock, would still call us the owner.
 */
#include "core/lease.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/sys.h"

#define OWNER_SIZE      96
#define STANDBY_POLL_MS 250 /* at most; a tenth of the lease when that is shorter */

struct ph_lease {
    struct ph_lease_config config;
    /* The pipeline's, but with the keeper's own stop: theirs is wanted before they have drained. */
    struct ph_source_env env;
    char owner[OWNER_SIZE];
    void *ctx;
    pthread_t thread;
    struct ph_stop stop;
    _Atomic int64_t epoch;
    _Atomic int64_t deadline_us; /* CLOCK_BOOTTIME, less a margin */
    _Atomic bool paused, excess;
    _Atomic bool out_of_order; /* how it is given back */
    _Atomic int64_t yielded;   /* the epoch to be released; 0: none */
    int64_t maintain_due_us;
    int answered;          /* an eventfd: the keeper has asked for the lease */
    pthread_mutex_t mutex; /* guards the rest */
    struct ph_error trouble;
    bool report_due;
    char report[PH_ERROR_TEXT_MAX];
};

/* A tenth of the lease is left to clocks that run apart and to what is under way when the deadline
 * comes. */
static int64_t deadline_from(const struct ph_lease *lease, int64_t asked_us)
{
    return asked_us + lease->config.lease_ms * 900;
}

static void set_trouble(struct ph_lease *lease, int rc, const struct ph_error *err)
{
    (void)pthread_mutex_lock(&lease->mutex);
    ph_error_clear(&lease->trouble);
    if (rc < 0) {
        lease->trouble = *err;
    }
    (void)pthread_mutex_unlock(&lease->mutex);
    uint64_t one = 1;
    ssize_t written = write(lease->answered, &one, sizeof one);
    (void)written; /* when the counter is full it is readable */
}

static void hear(struct ph_lease *lease, const struct ph_lease_said *said)
{
    atomic_store(&lease->paused, said->paused);
    atomic_store(&lease->excess, said->excess);
}

static int64_t claim(struct ph_lease *lease)
{
    struct ph_error err = {0};
    int64_t epoch = 0, asked_us = ph_clock_mono_us();
    struct ph_lease_said said = {0};
    int rc = lease->config.driver->lease_claim(lease->ctx, lease->owner, lease->config.lease_ms,
                                               &epoch, &said, &err);
    if (rc == 1) {
        hear(lease, &said);
        atomic_store(&lease->deadline_us, deadline_from(lease, asked_us));
        atomic_store(&lease->epoch, epoch);
    }
    set_trouble(lease, rc, &err);
    if (rc == 1) {
        return lease->config.lease_ms / 3;
    }
    int64_t poll_ms = lease->config.lease_ms / 10;
    return poll_ms < STANDBY_POLL_MS ? poll_ms : STANDBY_POLL_MS;
}

/* Takes the report that waits to be stored; false when there is none. */
static bool take_report(struct ph_lease *lease, char out[PH_ERROR_TEXT_MAX])
{
    (void)pthread_mutex_lock(&lease->mutex);
    bool due = lease->report_due;
    if (due) {
        memcpy(out, lease->report, PH_ERROR_TEXT_MAX);
        lease->report_due = false;
    }
    (void)pthread_mutex_unlock(&lease->mutex);
    return due;
}

/* A report that could not be stored waits again, unless there is a newer one. */
static void put_report_back(struct ph_lease *lease, const char *text)
{
    (void)pthread_mutex_lock(&lease->mutex);
    if (!lease->report_due) {
        (void)snprintf(lease->report, sizeof lease->report, "%s", text);
        lease->report_due = true;
    }
    (void)pthread_mutex_unlock(&lease->mutex);
}

static int64_t renew(struct ph_lease *lease, int64_t epoch)
{
    char report[PH_ERROR_TEXT_MAX];
    const char *text = take_report(lease, report) ? report : NULL;
    struct ph_error err = {0};
    struct ph_lease_said said = {0};
    int64_t asked_us = ph_clock_mono_us();
    int rc = lease->config.driver->lease_renew(lease->ctx, lease->owner, epoch,
                                               lease->config.lease_ms, text, &said, &err);
    if (rc == 0) {
        hear(lease, &said);
        atomic_store(&lease->deadline_us, deadline_from(lease, asked_us));
        return lease->config.lease_ms / 3;
    }
    if (text) {
        put_report_back(lease, text);
    }
    if (rc == PH_E_FENCED || ph_clock_mono_us() >= atomic_load(&lease->deadline_us)) {
        ph_lease_drop(lease, epoch);
        return 0;
    }
    return lease->config.lease_ms / 10;
}

/* Two thirds of what is left of the lease: in the rest it is renewed. Not while renewals fail and
 * little is left. */
static void maintain(struct ph_lease *lease)
{
    int64_t now = ph_clock_mono_us();
    int64_t limit_ms = (atomic_load(&lease->deadline_us) - now) / 1000 * 2 / 3;
    if (!lease->config.driver->maintain || lease->config.maintain_ms == 0 ||
        now < lease->maintain_due_us || limit_ms < lease->config.lease_ms / 4) {
        return;
    }
    lease->maintain_due_us = now + lease->config.maintain_ms * 1000;
    struct ph_error err = {0};
    if (lease->config.driver->maintain(lease->ctx, limit_ms, &err) < 0) {
        ph_log(PH_LOG_WARN, lease->config.env->pipeline,
               "clearing settled events failed, trying again later: %s", err.text);
    }
}

static void release(struct ph_lease *lease, int64_t epoch)
{
    struct ph_error err = {0};
    (void)renew(lease, epoch); /* the last report goes with it */
    if (lease->config.driver->lease_release(lease->ctx, lease->owner, epoch,
                                            !atomic_load(&lease->out_of_order), &err) < 0) {
        ph_log(PH_LOG_WARN, lease->config.env->pipeline,
               "the lease could not be released and will run out: %s", err.text);
    }
}

/* What is wanted now: claim, renew or release; how long to wait after it, in ms. */
static int64_t step(struct ph_lease *lease)
{
    int64_t epoch = atomic_load(&lease->epoch);
    int64_t yielded = atomic_exchange(&lease->yielded, 0);
    if (yielded == 0) {
        return epoch == 0 ? claim(lease) : renew(lease, epoch);
    }
    release(lease, yielded);
    return lease->config.lease_ms / 10;
}

static void *keep(void *arg)
{
    struct ph_lease *lease = arg;
    int64_t wait_ms = 0;
    while (!ph_stop_wait(&lease->stop, (int)wait_ms)) {
        wait_ms = step(lease);
        int64_t done_us = ph_clock_mono_us();
        if (ph_lease_epoch(lease) != 0) {
            maintain(lease);
        }
        wait_ms -= (ph_clock_mono_us() - done_us) / 1000; /* what maintain took */
        wait_ms = wait_ms > 0 ? wait_ms : 0;
    }
    int64_t yielded = atomic_exchange(&lease->yielded, 0);
    int64_t epoch = yielded != 0 ? yielded : atomic_load(&lease->epoch);
    if (epoch != 0) {
        release(lease, epoch);
        atomic_store(&lease->epoch, 0);
    }
    return NULL;
}

static void name_owner(char *out, size_t size)
{
    char host[48] = "localhost";
    if (gethostname(host, sizeof host - 1) != 0) {
        (void)snprintf(host, sizeof host, "localhost");
    }
    (void)snprintf(out, size, "%s:%ld:%08x", host, (long)getpid(), (unsigned)ph_rand_u64());
}

static char instance[OWNER_SIZE];

static void name_instance(void)
{
    name_owner(instance, sizeof instance);
}

const char *ph_lease_instance(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, name_instance);
    return instance;
}

static void lease_free(struct ph_lease *lease)
{
    if (lease->ctx) {
        lease->config.driver->lease_close(lease->ctx);
    }
    ph_stop_free(&lease->stop);
    if (lease->answered >= 0) {
        (void)close(lease->answered);
    }
    (void)pthread_mutex_destroy(&lease->mutex);
    ph_mem_free(lease);
}

static int init_waiting(struct ph_lease *lease, struct ph_error *err)
{
    (void)pthread_mutex_init(&lease->mutex, NULL);
    lease->stop.fd = -1;
    lease->answered = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lease->answered < 0) {
        return ph_fail(err, PH_E_IO, "eventfd: %s", strerrordesc_np(errno));
    }
    return ph_stop_init(&lease->stop, err);
}

int ph_lease_start(const struct ph_lease_config *config, struct ph_lease **ret,
                   struct ph_error *err)
{
    assert(config->lease_ms >= 100);
    struct ph_lease *lease = ph_mem_zero(1, sizeof *lease);
    if (!lease) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a lease");
    }
    lease->config = *config;
    lease->env = *config->env;
    lease->env.stop = &lease->stop;
    lease->config.env = &lease->env;
    lease->maintain_due_us = ph_clock_mono_us() + config->maintain_ms * 1000;
    name_owner(lease->owner, sizeof lease->owner);
    int rc = init_waiting(lease, err);
    if (rc == 0) {
        rc = config->driver->lease_open(&lease->env, config->driver_config, &lease->ctx, err);
    }
    if (rc == 0 && ph_sys.thread_start(&lease->thread, keep, lease) != 0) {
        rc = ph_fail(err, PH_E_UNAVAILABLE, "no thread for the lease");
    }
    if (rc < 0) {
        lease_free(lease);
        return rc;
    }
    *ret = lease;
    return 0;
}

void ph_lease_stop(struct ph_lease *lease)
{
    if (!lease) {
        return;
    }
    ph_stop_request(&lease->stop);
    ph_sys.thread_join(lease->thread);
    lease_free(lease);
}

int64_t ph_lease_epoch(const struct ph_lease *lease)
{
    int64_t epoch = atomic_load(&lease->epoch);
    return epoch != 0 && ph_clock_mono_us() < atomic_load(&lease->deadline_us) ? epoch : 0;
}

int64_t ph_lease_wait(struct ph_lease *lease, int timeout_ms)
{
    struct pollfd waited = {.fd = lease->answered, .events = POLLIN};
    int64_t until_us = ph_clock_mono_us() + (int64_t)timeout_ms * 1000;
    int64_t left_us = (int64_t)timeout_ms * 1000;
    while (ph_lease_epoch(lease) == 0 && ph_lease_trouble(lease, NULL) == 0 && left_us > 0) {
        (void)ph_sys.poll(&waited, 1, (int)((left_us + 999) / 1000));
        uint64_t answers;
        ssize_t got = read(lease->answered, &answers, sizeof answers);
        (void)got; /* none when the time is over */
        left_us = until_us - ph_clock_mono_us();
    }
    return ph_lease_epoch(lease);
}

int ph_lease_trouble(struct ph_lease *lease, struct ph_error *err)
{
    (void)pthread_mutex_lock(&lease->mutex);
    int code = lease->trouble.code;
    if (code != 0 && err) {
        *err = lease->trouble;
    }
    (void)pthread_mutex_unlock(&lease->mutex);
    return code;
}

void ph_lease_drop(struct ph_lease *lease, int64_t epoch)
{
    (void)atomic_compare_exchange_strong(&lease->epoch, &epoch, 0);
}

bool ph_lease_paused(const struct ph_lease *lease)
{
    return atomic_load(&lease->paused);
}

bool ph_lease_excess(const struct ph_lease *lease)
{
    return atomic_load(&lease->excess);
}

void ph_lease_yield(struct ph_lease *lease, int64_t epoch)
{
    if (atomic_compare_exchange_strong(&lease->epoch, &epoch, 0)) {
        atomic_store(&lease->excess, false);
        atomic_store(&lease->yielded, epoch);
    }
}

void ph_lease_in_order(struct ph_lease *lease, bool in_order)
{
    atomic_store(&lease->out_of_order, !in_order);
}

void ph_lease_report(struct ph_lease *lease, const char *text)
{
    (void)pthread_mutex_lock(&lease->mutex);
    (void)snprintf(lease->report, sizeof lease->report, "%s", text);
    lease->report_due = true;
    (void)pthread_mutex_unlock(&lease->mutex);
}
