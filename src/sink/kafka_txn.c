/*
 * Exactly-once: events in transactions, each with the checkpoint behind them as its last record, so
 * that either both are there or neither. The state machine (`steps` below) runs on the pipeline's
 * thread; what blocks is the worker's.
 *
 * Hygiene: librdkafka before KIP-890 retries EndTxn after a time limit or a lost connection, and
 * the broker cannot tell the late first one from the end of the next transaction, which it would
 * tear: https://cwiki.apache.org/confluence/display/KAFKA/KIP-890. So from begin to the end of the
 * commit anything that was slow, broke or was said twice puts the producer in doubt: it is thrown
 * away, a new one of the same transactional.id shuts it out (its epoch is over then, also for
 * requests that are still on their way), and the checkpoint that is read back tells what became of
 * the commit. A producer that goes inside a transaction whose end was not asked for aborts it
 * first. Promise: an event is SENT only once the transaction it is in is known to be committed; a
 * checkpoint that is not ours, newer or unexpected, ends this owner.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define TXN_BYTES  ((size_t)16 << 20)
#define TXN_US     250000
#define FUTILE_MAX 3 /* failures in a row without a cause, before an event is taken for it */

/* --- what went wrong -------------------------------------------------------------------------- */

static bool in_transaction(const struct ph_kafka_txn *txn)
{
    return txn->state == PH_KAFKA_OPEN || txn->state == PH_KAFKA_CLOSING ||
           txn->state == PH_KAFKA_COMMITTING;
}

void ph_kafka_txn_error(struct ph_kafka *k, rd_kafka_resp_err_t rc)
{
    struct ph_kafka_txn *txn = k->txn;
    txn->fenced |= ph_kafka_is_fencing(rc);
    if (rc == RD_KAFKA_RESP_ERR__TIMED_OUT || rc == RD_KAFKA_RESP_ERR__TRANSPORT ||
        rc == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || rc == RD_KAFKA_RESP_ERR__FATAL) {
        bool off = PH_FAILPOINT_OFF("kafka.hygiene") && rc != RD_KAFKA_RESP_ERR__FATAL;
        txn->doubt |= in_transaction(txn) && !off;
        txn->broke = true;
    }
}

void ph_kafka_txn_report(struct ph_kafka *k, rd_kafka_resp_err_t rc)
{
    struct ph_kafka_txn *txn = k->txn;
    txn->fenced |= ph_kafka_is_fencing(rc);
    txn->poisoned |= ph_kafka_classify(rc) == PH_KAFKA_ALONE;
    txn->doubt = true;
}

/* Moves rows from one set to the other. Without memory some are known to the topic a little longer:
 * the next session learns of them and forgets them again. */
static void keep_rows(struct ph_kafka_rows *from, struct ph_kafka_rows *to)
{
    for (size_t i = 0; i < from->count; i++) {
        if (ph_kafka_rows_add(to, from->at[i], NULL) < 0) {
            break;
        }
    }
    from->count = 0;
}

/* The transaction is given up: what it held is pending again. */
static void give_up(struct ph_kafka *k)
{
    for (size_t i = 0; i < k->flight_count; i++) {
        k->flights[i].next = k->flights[i].done;
    }
    keep_rows(&k->txn->forgotten, &k->txn->gone);
    k->txn->events = k->txn->bytes = 0;
    k->txn->begins = false;
    k->txn->commit_asked = false;
}

/* Somewhere in the transaction that failed is the event that is refused: the half of it comes next,
 * until it stands alone. */
static void narrow(struct ph_kafka_txn *txn)
{
    txn->suspects = txn->events;
    txn->limit = txn->events / 2;
    txn->futile = 0;
}

static struct ph_kafka_flight *first_pending(struct ph_kafka *k, struct ph_event **ret)
{
    for (size_t i = 0; i < k->flight_count; i++) {
        struct ph_kafka_flight *flight = &k->flights[i];
        for (size_t j = flight->done; j < flight->batch->count; j++) {
            if (flight->batch->events[j].verdict == PH_PENDING) {
                *ret = &flight->batch->events[j];
                return flight;
            }
        }
    }
    return NULL;
}

/* The one event of the transaction was refused. */
static void refuse_alone(struct ph_kafka *k, enum ph_verdict verdict)
{
    struct ph_event *event = NULL;
    struct ph_kafka_flight *flight = first_pending(k, &event);
    assert(flight);
    k->refused = true;
    k->refusals++;
    k->txn->suspects = 0;
    k->txn->limit = PH_KAFKA_TXN_EVENTS;
    ph_batch_verdict(flight->batch, event, verdict, k->trouble);
}

/* A topic that may not be written fails the transaction before any event of it is tried, and their
 * reports say only that. librdkafka tells the cause to whoever asks for something else. */
static void ask_cause(struct ph_kafka *k)
{
    rd_kafka_error_t *error = rd_kafka_begin_transaction(k->rk);
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    k->txn->fenced |= ph_kafka_is_fencing(code);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        k->txn->poisoned = true;
        (void)snprintf(k->trouble, sizeof k->trouble, "%s", rd_kafka_error_string(error));
    }
    if (error) {
        rd_kafka_error_destroy(error);
    }
}

/* What a failed transaction says about its events. */
static void judge_failure(struct ph_kafka *k)
{
    struct ph_kafka_txn *txn = k->txn;
    bool guess = false;
    if (!txn->poisoned && !txn->broke && !k->down && txn->events > 0) {
        guess = ++txn->futile >= FUTILE_MAX;
    }
    if (!txn->poisoned && !guess) {
        return;
    }
    if (txn->events > 1) {
        narrow(txn);
    } else {
        refuse_alone(k, txn->poisoned ? PH_REJECT : PH_RETRY);
    }
}

/* --- settling --------------------------------------------------------------------------------- */

/* Rows that were sent by this transaction may still be in the source; those forgotten by it are
 * forgotten. */
static int note_rows(struct ph_kafka *k, const struct ph_kafka_flight *flight, struct ph_error *err)
{
    int rc = 0;
    for (size_t j = flight->done; rc == 0 && flight->batch->due && j < flight->next; j++) {
        const struct ph_event *event = &flight->batch->events[j];
        if (event->verdict == PH_PENDING) {
            rc = ph_kafka_rows_add(&k->txn->sent, ph_event_at(event), err);
        }
    }
    return rc;
}

static void settle_flight(struct ph_kafka_flight *flight)
{
    for (size_t j = flight->done; j < flight->next; j++) {
        struct ph_event *event = &flight->batch->events[j];
        if (event->verdict == PH_PENDING) {
            ph_batch_verdict(flight->batch, event, PH_SENT, NULL);
        }
    }
    flight->done = flight->next;
}

/* The transaction is committed. */
static int settle(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    int rc = ph_checkpoint_keep(&txn->kept, &txn->next.cp, err);
    for (size_t i = 0; rc == 0 && i < k->flight_count; i++) {
        rc = note_rows(k, &k->flights[i], err);
    }
    if (rc < 0) { /* nothing may be added to what is settled only in the topic */
        txn->doubt = true;
        txn->state = PH_KAFKA_LOST;
        return rc;
    }
    for (size_t i = 0; i < k->flight_count; i++) {
        settle_flight(&k->flights[i]);
    }
    txn->forgotten.count = 0;
    txn->serial++;
    txn->suspects -= txn->events < txn->suspects ? txn->events : txn->suspects;
    txn->limit = txn->suspects > 1    ? txn->suspects / 2
                 : txn->suspects == 1 ? 1
                                      : PH_KAFKA_TXN_EVENTS;
    txn->events = txn->bytes = 0;
    txn->begins = txn->commit_asked = false;
    txn->futile = 0;
    k->down = false;
    return 0;
}

/* --- the steps -------------------------------------------------------------------------------- */

static int fenced(struct ph_kafka *k, struct ph_error *err)
{
    k->txn->state = PH_KAFKA_LOST;
    return ph_fail(err, PH_E_FENCED, "another instance writes as transactional.id %s", k->txn->id);
}

int ph_kafka_txn_renew(struct ph_kafka *k, struct ph_error *err)
{
    ph_kafka_client_end(k, ph_kafka_forget_report);
    k->txn->doubt = k->txn->fenced = k->txn->poisoned = k->txn->broke = false;
    int rc = ph_kafka_client_new(k, err);
    if (rc == 0) {
        k->renewals++;
        k->txn->state = PH_KAFKA_RENEWING;
        ph_kafka_worker_begin(&k->txn->worker, ph_kafka_job_renew);
    }
    return rc < 0 ? rc : 1;
}

/* What was read back tells where this owner stands: the commit in doubt came through, or it did
 * not; anything else is another owner's. */
static int compare(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    const struct ph_kafka_found *read = &txn->read;
    bool same = read->found && read->kept.cp.epoch == txn->kept.cp.epoch;
    if (same && txn->commit_asked && read->serial == txn->serial + 1) {
        return settle(k, err);
    }
    if (same && read->serial == txn->serial) {
        give_up(k);
        return 0;
    }
    return fenced(k, err);
}

static int step_renewing(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    if (ph_kafka_worker_busy(&txn->worker)) {
        return 0;
    }
    struct ph_error why = {0};
    int rc = ph_kafka_worker_end(&txn->worker, &why);
    txn->state = rc < 0 ? PH_KAFKA_LOST : PH_KAFKA_IDLE;
    if (rc == PH_E_UNAVAILABLE) {
        k->down = true;
        (void)snprintf(k->trouble, sizeof k->trouble, "%.*s", (int)sizeof k->trouble - 1, why.text);
        return 0;
    }
    if (rc < 0) {
        return ph_fail(err, rc, "%s", why.text);
    }
    k->down = false;
    rc = compare(k, err);
    return rc < 0 ? rc : 1;
}

static int step_idle(struct ph_kafka *k, struct ph_error *err)
{
    (void)err;
    if (!k->outgrown && !k->txn->doubt) {
        return 0;
    }
    k->txn->state = PH_KAFKA_LOST;
    return 1;
}

/* The checkpoint behind the last event of the log that the transaction holds. */
static struct ph_checkpoint behind(const struct ph_kafka *k)
{
    struct ph_checkpoint cp = k->txn->kept.cp;
    for (size_t i = 0; i < k->flight_count; i++) {
        const struct ph_kafka_flight *flight = &k->flights[i];
        const struct ph_batch *batch = flight->batch;
        if (batch->due || flight->next == flight->done) {
            continue;
        }
        const struct ph_event *last = &batch->events[flight->next - 1];
        bool whole = flight->next == batch->count && batch->has_end;
        struct ph_checkpoint at =
            whole ? batch->end : ph_event_checkpoint(last->span, last->position);
        cp.at = at.at;
        cp.snapshot = at.snapshot;
        cp.base_snapshot = at.base_snapshot;
    }
    return cp;
}

static int close_transaction(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    if (!txn->begins) {
        struct ph_checkpoint cp = behind(k);
        int rc = ph_checkpoint_keep(&txn->next, &cp, err);
        if (rc < 0) {
            return rc;
        }
    }
    keep_rows(&txn->gone, &txn->forgotten);
    PH_FAILPOINT("kafka.checkpoint.before");
    if (ph_kafka_ledger_write(k, err) < 0) {
        ph_error_clear(err);
        txn->doubt = true;
        return 1;
    }
    PH_FAILPOINT("kafka.checkpoint.after");
    txn->state = PH_KAFKA_CLOSING;
    return 1;
}

static int step_open(struct ph_kafka *k, struct ph_error *err)
{
    /* all that was handed over is reported: there is no more, or no more may come */
    bool nothing = k->txn->events == 0 && !k->txn->begins;
    if (nothing && k->outgrown) {
        k->txn->state = PH_KAFKA_LOST;
        return 1;
    }
    return nothing || k->outstanding > 0 ? 0 : close_transaction(k, err);
}

static int step_closing(struct ph_kafka *k, struct ph_error *err)
{
    (void)err;
    if (k->outstanding > 0) {
        return 0;
    }
    atomic_store(&k->txn->end_txns, 0);
    k->txn->may_abort = false;
    k->txn->commit_asked = true;
    k->txn->state = PH_KAFKA_COMMITTING;
    ph_kafka_worker_begin(&k->txn->worker, ph_kafka_job_commit);
    return 1;
}

/* Whether nothing happened during the commit that could have sent its end twice. */
static bool is_clean(const struct ph_kafka_txn *txn)
{
    return PH_FAILPOINT_OFF("kafka.hygiene") || (!txn->doubt && atomic_load(&txn->end_txns) <= 1 &&
                                                 txn->commit_us < txn->socket_ms * 1000 / 2);
}

static int step_committing(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    if (ph_kafka_worker_busy(&txn->worker)) {
        return 0;
    }
    struct ph_error why = {0};
    int rc = ph_kafka_worker_end(&txn->worker, &why);
    txn->fenced |= rc == PH_E_FENCED;
    txn->state = PH_KAFKA_IDLE;
    if (rc == 0 && is_clean(txn)) {
        rc = settle(k, err);
        return rc < 0 ? rc : 1;
    }
    if (rc < 0) {
        (void)snprintf(k->trouble, sizeof k->trouble, "%.*s", (int)sizeof k->trouble - 1, why.text);
    }
    txn->doubt = true;
    txn->state = txn->fenced ? txn->state : PH_KAFKA_LOST;
    return 1;
}

static int (*const steps[])(struct ph_kafka *k, struct ph_error *err) = {
    [PH_KAFKA_LOST] = ph_kafka_txn_renew, [PH_KAFKA_RENEWING] = step_renewing,
    [PH_KAFKA_IDLE] = step_idle,          [PH_KAFKA_OPEN] = step_open,
    [PH_KAFKA_CLOSING] = step_closing,    [PH_KAFKA_COMMITTING] = step_committing,
};

int ph_kafka_txn_step(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_kafka_txn *txn = k->txn;
    if (txn->fenced && txn->state != PH_KAFKA_LOST && txn->state != PH_KAFKA_COMMITTING &&
        txn->state != PH_KAFKA_RENEWING) {
        return fenced(k, err);
    }
    if (txn->doubt && (txn->state == PH_KAFKA_OPEN || txn->state == PH_KAFKA_CLOSING)) {
        ask_cause(k);
        judge_failure(k);
        txn->state = PH_KAFKA_LOST;
        return k->refused ? 0 : 1;
    }
    return steps[txn->state](k, err);
}

/* --- what the sink asks ----------------------------------------------------------------------- */

bool ph_kafka_txn_admits(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event)
{
    struct ph_kafka_txn *txn = k->txn;
    if (txn->doubt || (txn->state != PH_KAFKA_IDLE && txn->state != PH_KAFKA_OPEN)) {
        return false;
    }
    if (batch->due && ph_kafka_rows_have(&txn->sent, ph_event_at(event))) {
        ph_batch_verdict(batch, event, PH_SENT, NULL);
        return true;
    }
    return txn->state == PH_KAFKA_IDLE ||
           (!txn->begins && txn->events < txn->limit && txn->bytes < TXN_BYTES &&
            ph_clock_mono_us() - txn->begun_us < TXN_US);
}

bool ph_kafka_txn_open(struct ph_kafka *k)
{
    struct ph_kafka_txn *txn = k->txn;
    if (txn->state == PH_KAFKA_OPEN) {
        return true;
    }
    assert(txn->state == PH_KAFKA_IDLE);
    struct ph_error err = {0};
    if (ph_kafka_take_error(k, rd_kafka_begin_transaction(k->rk), &err) < 0) {
        txn->doubt = true;
        return false;
    }
    txn->state = PH_KAFKA_OPEN;
    txn->may_abort = true;
    txn->commit_asked = false;
    txn->begun_us = ph_clock_mono_us();
    return true;
}

void ph_kafka_txn_count(struct ph_kafka *k, const struct ph_event *event)
{
    k->txn->events++;
    k->txn->bytes += event->body.len + event->key.len;
}

struct ph_position ph_kafka_txn_kept_at(void *ctx)
{
    const struct ph_kafka *k = ctx;
    return k->txn->kept.cp.at;
}

void ph_kafka_txn_row_gone(void *ctx, const struct ph_position *at)
{
    const struct ph_kafka *k = ctx;
    struct ph_kafka_txn *txn = k->txn;
    if (!at) {
        keep_rows(&txn->sent, &txn->gone);
    } else if (ph_kafka_rows_have(&txn->sent, *at) &&
               ph_kafka_rows_add(&txn->gone, *at, NULL) == 0) {
        ph_kafka_rows_remove(&txn->sent, *at);
    }
}

void ph_kafka_txn_abandon(struct ph_kafka *k)
{
    struct ph_kafka_txn *txn = k->txn;
    if (txn->state == PH_KAFKA_RENEWING || txn->state == PH_KAFKA_COMMITTING) {
        ph_kafka_worker_wait(&txn->worker);
    }
    if (txn->state != PH_KAFKA_IDLE) {
        txn->state = PH_KAFKA_LOST;
    }
    k->flight_count = 0;
    give_up(k);
    if (txn->state == PH_KAFKA_LOST) {
        ph_kafka_client_end(k, ph_kafka_forget_report);
    }
}
