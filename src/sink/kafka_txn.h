/*
 * Inside the Kafka sink: exactly-once. kafka_txn.c is the state machine of transactions;
 * kafka_ledger.c reads and writes what the checkpoint topic holds; kafka_worker.c makes the calls
 * of librdkafka that block.
 */
#ifndef PH_SINK_KAFKA_TXN_H
#define PH_SINK_KAFKA_TXN_H

#include <pthread.h>
#include <stdatomic.h>

#include "sink/kafka.h"

/* --- the worker ------------------------------------------------------------------------------- */

/* A call that blocks. It may use the sink's producer, and of the ph_kafka_txn what its comment says
 * is the worker's. */
typedef int ph_kafka_job(struct ph_kafka *k, struct ph_error *err);

struct ph_kafka_worker {
    struct ph_kafka *k;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    ph_kafka_job *job; /* to do, or being done; NULL: none */
    bool started, quit;
    int rc; /* of the last job */
    struct ph_error err;
};

int ph_kafka_worker_open(struct ph_kafka_worker *worker, struct ph_kafka *k,
                         struct ph_error *err) PH_MUST_CHECK;
/* Waits for the job under way. */
void ph_kafka_worker_close(struct ph_kafka_worker *worker);
/* Begins a job; there must be none. The sink's wake_fd becomes readable at its end. */
void ph_kafka_worker_begin(struct ph_kafka_worker *worker, ph_kafka_job *job);
/* Whether a job is under way. */
bool ph_kafka_worker_busy(struct ph_kafka_worker *worker);
/* Waits for its end, if there is one under way; and tells what it returned. */
void ph_kafka_worker_wait(struct ph_kafka_worker *worker);
int ph_kafka_worker_end(struct ph_kafka_worker *worker, struct ph_error *err) PH_MUST_CHECK;

/* --- rows that came due and were sent --------------------------------------------------------- */

#define PH_KAFKA_ROWS_MAX   1000000
#define PH_KAFKA_TXN_EVENTS 40000

/* Positions, each once, in order. Zero-initialise it. */
struct ph_kafka_rows {
    struct ph_position *at;
    size_t count, room;
};

/* Whether the position is among them. */
bool ph_kafka_rows_have(const struct ph_kafka_rows *rows, struct ph_position at);
/* PH_E_NOMEM, also beyond PH_KAFKA_ROWS_MAX. */
int ph_kafka_rows_add(struct ph_kafka_rows *rows, struct ph_position at,
                      struct ph_error *err) PH_MUST_CHECK;
/* Does nothing when it is not. */
void ph_kafka_rows_remove(struct ph_kafka_rows *rows, struct ph_position at);
void ph_kafka_rows_free(struct ph_kafka_rows *rows);

/* --- the checkpoint topic --------------------------------------------------------------------- */

/* What one partition of the checkpoint topic says. */
struct ph_kafka_found {
    bool found; /* a checkpoint */
    struct ph_checkpoint_kept kept;
    int64_t serial; /* of the checkpoint */
    struct ph_kafka_rows sent;
};

void ph_kafka_found_free(struct ph_kafka_found *found);

/* --- the state machine ------------------------------------------------------------------------ */

enum ph_kafka_state {
    PH_KAFKA_LOST,       /* the producer must not be used again: a new one has to shut it out */
    PH_KAFKA_RENEWING,   /* the worker fences, and reads the checkpoint back */
    PH_KAFKA_IDLE,       /* no transaction */
    PH_KAFKA_OPEN,       /* events are handed over */
    PH_KAFKA_CLOSING,    /* the checkpoint is handed over, last */
    PH_KAFKA_COMMITTING, /* the worker commits */
};

struct ph_kafka_txn {
    enum ph_kafka_state state;
    struct ph_kafka_worker worker;
    char id[300], topic[300]; /* transactional.id; the checkpoint topic */
    int64_t socket_ms;        /* socket.timeout.ms */

    struct ph_checkpoint_kept kept; /* the last that is committed */
    int64_t serial;                 /* of it */
    struct ph_checkpoint_kept next; /* the one in this transaction */
    struct ph_kafka_rows sent;      /* rows that were sent and may still be in the source */
    struct ph_kafka_rows gone;      /* rows to forget in the topic */
    struct ph_kafka_rows forgotten; /* those that this transaction forgets there */
    bool begins;                    /* this transaction holds the first checkpoint of a session */

    size_t events, bytes; /* in this transaction */
    int64_t begun_us;
    size_t limit;      /* events in one at most, to find out which one is refused */
    size_t suspects;   /* so many events from here on hold a refused one; 0: none is known */
    unsigned futile;   /* transactions that failed without a cause, one after the other */
    bool poisoned;     /* an event of it was refused */
    bool broke;        /* a connection: no event is to blame */
    bool doubt;        /* something was slow or broke: see hygiene in kafka_txn.c */
    bool commit_asked; /* a commit was asked for, its outcome is not known */
    bool may_abort;    /* the client is in a transaction whose end was not asked for */
    bool fenced;

    _Atomic int end_txns; /* requests EndTxn that were sent since the commit began */

    /* the worker's, while it works */
    bool topic_checked;
    struct ph_kafka_found read;
    int64_t commit_us; /* how long the commit took */
};

int ph_kafka_txn_new(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
void ph_kafka_txn_free(struct ph_kafka *k);
/* The driver's resume, begin, kept_at and row_gone. */
int ph_kafka_txn_resume(void *ctx, struct ph_checkpoint *ret, struct ph_error *err);
int ph_kafka_txn_begin(void *ctx, const struct ph_checkpoint *cp, bool anew, struct ph_error *err);
struct ph_position ph_kafka_txn_kept_at(void *ctx);
void ph_kafka_txn_row_gone(void *ctx, const struct ph_position *at);

/* Before the client goes: ends the transaction that it is in, where that is not in doubt. */
void ph_kafka_txn_abort(struct ph_kafka *k);
/* Throws the producer away and begins to make the next one: 1, or an error. */
int ph_kafka_txn_renew(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* The worker's: fences and reads the checkpoint back; commits. */
int ph_kafka_job_renew(struct ph_kafka *k, struct ph_error *err);
int ph_kafka_job_commit(struct ph_kafka *k, struct ph_error *err);
/* Whether an error says that another producer of our transactional.id has taken over. */
bool ph_kafka_is_fencing(rd_kafka_resp_err_t code);
/* 0, or the class of the error, which is destroyed. */
int ph_kafka_take_error(struct ph_kafka *k, rd_kafka_error_t *error,
                        struct ph_error *err) PH_MUST_CHECK;

/* Whether this event may be handed over now. One that was sent before gets its verdict at once. */
bool ph_kafka_txn_admits(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event);
/* Before an event is handed over: false when there is no transaction to put it in. */
bool ph_kafka_txn_open(struct ph_kafka *k);
/* An event was handed over. */
void ph_kafka_txn_count(struct ph_kafka *k, const struct ph_event *event);
/* A report that is not good, or an error event. */
void ph_kafka_txn_report(struct ph_kafka *k, rd_kafka_resp_err_t rc);
void ph_kafka_txn_error(struct ph_kafka *k, rd_kafka_resp_err_t rc);
/* Moves the transaction on: 1 when it moved, 0, or an error (PH_E_FENCED). */
int ph_kafka_txn_step(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* Nothing of the batches in flight may arrive any more. */
void ph_kafka_txn_abandon(struct ph_kafka *k);

/* Puts the checkpoint and what is known of rows into the open transaction. */
int ph_kafka_ledger_write(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* The worker's: makes or checks the checkpoint topic; reads this shard's partition into
 * txn->read. */
int ph_kafka_ledger_check(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
int ph_kafka_ledger_read(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* One record of the topic, as it is read back; see kafka_ledger.c for the format. PH_E_DATA when it
 * is ours and broken. */
int ph_kafka_ledger_take(struct ph_kafka_found *found, struct ph_str key, struct ph_str value,
                         struct ph_error *err) PH_MUST_CHECK;

#endif
