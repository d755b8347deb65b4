/*
 * Exactly-once, beginning and ending: the sink shuts out whoever wrote before, tells its checkpoint
 * (resume), and stores the one from which the session goes on (begin) before any event.
 * Promise: what a session begins with is in the topic before its first event; a sink that is closed
 * leaves no transaction open that consumers would wait for.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define ABORT_MS    500
#define BEGIN_MS    30000
#define TOPIC_BEGIN "posthorn.checkpoint."

/* --- sessions --------------------------------------------------------------------------------- */

/* Runs the steps until the sink rests, waiting for what is under way. */
static int run_until_idle(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    int64_t deadline_us = ph_clock_mono_us() + BEGIN_MS * 1000LL;
    int rc = 1;
    while (rc >= 0 && txn->state != PH_KAFKA_IDLE && txn->state != PH_KAFKA_LOST) {
        if (txn->state == PH_KAFKA_RENEWING || txn->state == PH_KAFKA_COMMITTING) {
            ph_kafka_worker_wait(&txn->worker);
        }
        if (ph_stop_wanted(k->env->stop) || ph_clock_mono_us() > deadline_us) {
            txn->state = PH_KAFKA_LOST;
            break;
        }
        ph_kafka_take_reports(k, 20);
        rc = ph_kafka_txn_step(k, err);
    }
    return rc < 0 ? rc : 0;
}

int ph_kafka_txn_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err)
{
    struct ph_kafka *k = ctx;
    struct ph_kafka_txn *txn = k->txn;
    ph_kafka_txn_abandon(k);
    txn->state = PH_KAFKA_LOST;
    int rc = ph_kafka_txn_renew(k, err);
    if (rc < 0) {
        return rc;
    }
    rc = ph_kafka_worker_end(&txn->worker, err);
    txn->state = rc < 0 ? PH_KAFKA_LOST : PH_KAFKA_IDLE;
    if (rc < 0) {
        return rc == PH_E_UNAVAILABLE ? ph_kafka_say_why(k, err) : rc;
    }
    txn->serial = txn->read.serial;
    *ret = txn->read.kept.cp;
    return txn->read.found;
}

/* All rows of which the topic knows are forgotten (anew), or are those that must not go again. */
static void take_rows(struct ph_kafka_txn *txn, bool anew)
{
    struct ph_kafka_rows *mine = anew ? &txn->gone : &txn->sent;
    ph_kafka_rows_free(&txn->gone);
    ph_kafka_rows_free(&txn->sent);
    txn->forgotten.count = 0;
    *mine = txn->read.sent;
    txn->read.sent = (struct ph_kafka_rows){0};
}

int ph_kafka_txn_begin(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err)
{
    struct ph_kafka *k = ctx;
    struct ph_kafka_txn *txn = k->txn;
    assert(txn->state == PH_KAFKA_IDLE);
    int rc = ph_checkpoint_keep(&txn->next, cp, err);
    if (rc == 0) {
        rc = ph_checkpoint_keep(&txn->kept, cp, err);
    }
    if (rc < 0) {
        return rc;
    }
    take_rows(txn, anew);
    int64_t serial = txn->serial;
    txn->begins = true;
    rc = ph_kafka_txn_open(k) ? 0 : PH_E_UNAVAILABLE;
    txn->events = txn->bytes = 0;
    if (rc == 0) {
        rc = run_until_idle(k, err);
    }
    if (rc < 0 && rc != PH_E_UNAVAILABLE) {
        return rc;
    }
    return txn->serial == serial + 1
               ? 0
               : ph_fail(err, PH_E_UNAVAILABLE,
                         "Kafka: the first checkpoint of the session could not be stored%s%s",
                         k->trouble[0] ? ": " : "", k->trouble);
}

/* --- making and ending ------------------------------------------------------------------------ */

/* Kafka's rule for names of topics. */
static bool is_name(const char *text)
{
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text) && !strchr("._-", *text)) {
            return false;
        }
    }
    return true;
}

static int name_it(struct ph_kafka *k, struct ph_error *err)
{
    const char *pipeline = k->env->pipeline;
    if (!is_name(pipeline) || strlen(pipeline) > 200) {
        return ph_fail(err, PH_E_CONFIG,
                       "delivery: exactly-once names a Kafka topic after the pipeline, so its name "
                       "must consist of at most 200 letters, digits and . _ -");
    }
    (void)snprintf(k->txn->id, sizeof k->txn->id, "posthorn.%s.%d", pipeline, k->env->shard);
    (void)snprintf(k->txn->topic, sizeof k->txn->topic, TOPIC_BEGIN "%s", pipeline);
    return 0;
}

int ph_kafka_txn_new(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = ph_mem_zero(1, sizeof *txn);
    if (!txn) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a Kafka sink");
    }
    k->txn = txn;
    txn->limit = PH_KAFKA_TXN_EVENTS;
    int rc = name_it(k, err);
    return rc < 0 ? rc : ph_kafka_worker_open(&txn->worker, k, err);
}

/* Consumers need not wait until the open transaction's time is over. Nothing hangs on it: the next
 * producer shuts this one out, and with it an answer that is still to come. And librdkafka 2.0.2
 * must not be destroyed inside a transaction: its main thread may be about to register a partition,
 * which the broker's thread, ending, takes back before it was counted (txn_req_cnt > 0). */
void ph_kafka_txn_abort(struct ph_kafka *k)
{
    if (k->txn->may_abort) {
        k->txn->may_abort = false;
        rd_kafka_error_t *error = rd_kafka_abort_transaction(k->rk, ABORT_MS);
        if (error) {
            rd_kafka_error_destroy(error);
        }
    }
}

void ph_kafka_txn_free(struct ph_kafka *k)
{
    struct ph_kafka_txn *txn = k->txn;
    if (!txn) {
        return;
    }
    ph_kafka_worker_close(&txn->worker);
    ph_kafka_client_end(k, ph_kafka_forget_report);
    ph_checkpoint_kept_free(&txn->kept);
    ph_checkpoint_kept_free(&txn->next);
    ph_kafka_rows_free(&txn->sent);
    ph_kafka_rows_free(&txn->gone);
    ph_kafka_rows_free(&txn->forgotten);
    ph_kafka_found_free(&txn->read);
    ph_mem_free(txn);
    k->txn = NULL;
}
