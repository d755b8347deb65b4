/*
 * One thread beside the pipeline's for calls of librdkafka that block (init_transactions, commit,
 * reading the checkpoint back), so that the pipeline's own thread goes on reading, keeps its lease
 * in sight and can stop. One job at a time.
 * Promise: a job's memory is the worker's from begin until busy says false.
 */
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define INIT_MS    1000
#define INIT_TRIES 5
/* The broker marks the end in the partitions after it has answered. A transaction that begins
 * before that is refused at first, and librdkafka asks again only after 20 ms. Nothing tells. */
#define MARKERS_MS 2

static void wake(const struct ph_kafka *k)
{
    uint64_t one = 1;
    (void)!write(k->wake_fd, &one, sizeof one);
}

static void *run(void *arg)
{
    struct ph_kafka_worker *worker = arg;
    (void)pthread_mutex_lock(&worker->lock);
    while (!worker->quit) {
        if (!worker->job) {
            (void)pthread_cond_wait(&worker->cond, &worker->lock);
            continue;
        }
        ph_kafka_job *job = worker->job;
        (void)pthread_mutex_unlock(&worker->lock);
        struct ph_error err = {0};
        int rc = job(worker->k, &err);
        (void)pthread_mutex_lock(&worker->lock);
        worker->rc = rc;
        worker->err = err;
        worker->job = NULL;
        (void)pthread_cond_broadcast(&worker->cond);
        wake(worker->k);
    }
    (void)pthread_mutex_unlock(&worker->lock);
    return NULL;
}

int ph_kafka_worker_open(struct ph_kafka_worker *worker, struct ph_kafka *k, struct ph_error *err)
{
    worker->k = k;
    (void)pthread_mutex_init(&worker->lock, NULL);
    (void)pthread_cond_init(&worker->cond, NULL);
    int rc = ph_sys.thread_start(&worker->thread, run, worker);
    if (rc != 0) {
        return ph_fail(err, PH_E_NOMEM, "no thread for a Kafka sink: errno %d", rc);
    }
    worker->started = true;
    return 0;
}

void ph_kafka_worker_close(struct ph_kafka_worker *worker)
{
    if (worker->started) {
        (void)pthread_mutex_lock(&worker->lock);
        worker->quit = true;
        (void)pthread_cond_broadcast(&worker->cond);
        (void)pthread_mutex_unlock(&worker->lock);
        ph_sys.thread_join(worker->thread);
    }
    if (worker->k) {
        (void)pthread_cond_destroy(&worker->cond);
        (void)pthread_mutex_destroy(&worker->lock);
    }
}

void ph_kafka_worker_begin(struct ph_kafka_worker *worker, ph_kafka_job *job)
{
    (void)pthread_mutex_lock(&worker->lock);
    assert(!worker->job);
    worker->job = job;
    (void)pthread_cond_broadcast(&worker->cond);
    (void)pthread_mutex_unlock(&worker->lock);
}

bool ph_kafka_worker_busy(struct ph_kafka_worker *worker)
{
    (void)pthread_mutex_lock(&worker->lock);
    bool busy = worker->job != NULL;
    (void)pthread_mutex_unlock(&worker->lock);
    return busy;
}

void ph_kafka_worker_wait(struct ph_kafka_worker *worker)
{
    (void)pthread_mutex_lock(&worker->lock);
    while (worker->job) {
        (void)pthread_cond_wait(&worker->cond, &worker->lock);
    }
    (void)pthread_mutex_unlock(&worker->lock);
}

int ph_kafka_worker_end(struct ph_kafka_worker *worker, struct ph_error *err)
{
    ph_kafka_worker_wait(worker);
    (void)pthread_mutex_lock(&worker->lock);
    int rc = worker->rc;
    if (rc < 0 && err) {
        *err = worker->err;
    }
    (void)pthread_mutex_unlock(&worker->lock);
    return rc;
}

/* --- its jobs --------------------------------------------------------------------------------- */

bool ph_kafka_is_fencing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

int ph_kafka_take_error(struct ph_kafka *k, rd_kafka_error_t *error, struct ph_error *err)
{
    if (!error) {
        return 0;
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    int class = ph_kafka_is_fencing(code) ? PH_E_FENCED : PH_E_UNAVAILABLE;
    if (code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT) {
        class = PH_E_CONFIG;
    }
    (void)ph_fail(err, class, "transactional.id %s: %s", k->txn->id, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return class;
}

/* Shuts out every producer of our transactional.id, ends what it left open. */
static int fence(struct ph_kafka *k, struct ph_error *err)
{
    int rc = PH_E_UNAVAILABLE;
    for (int i = 0; i < INIT_TRIES && rc == PH_E_UNAVAILABLE; i++) {
        if (i > 0 && ph_stop_wanted(k->env->stop)) {
            break;
        }
        ph_error_clear(err);
        rc = ph_kafka_take_error(k, rd_kafka_init_transactions(k->rk, INIT_MS), err);
    }
    return rc;
}

int ph_kafka_job_renew(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    int rc = txn->topic_checked ? 0 : ph_kafka_ledger_check(k, err);
    if (rc < 0) {
        return rc;
    }
    txn->topic_checked = true;
    rc = fence(k, err);
    return rc < 0 ? rc : ph_kafka_ledger_read(k, err);
}

int ph_kafka_job_commit(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    int64_t from_us = ph_clock_mono_us();
    int rc;
    PH_FAILPOINT("kafka.commit.before");
    do {
        ph_error_clear(err);
        rd_kafka_error_t *error = rd_kafka_commit_transaction(k->rk, (int)txn->socket_ms / 2);
        rc = ph_kafka_take_error(k, error, err);
    } while (rc == PH_E_UNAVAILABLE && PH_FAILPOINT_OFF("kafka.hygiene") &&
             ph_clock_mono_us() - from_us < txn->socket_ms * 4000);
    PH_FAILPOINT("kafka.commit.after");
    txn->commit_us = ph_clock_mono_us() - from_us;
    if (rc == 0) {
        (void)ph_stop_wait(k->env->stop, MARKERS_MS);
    }
    return rc;
}
