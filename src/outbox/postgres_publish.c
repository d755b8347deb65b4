/*
 * Puts events into PostgreSQL's outbox, one statement per call however many there are.
 * Place: the driver's begin, insert, commit.
 * Promise: positions are drawn in the order of the array; data that the server refuses is traced to
 * its event by sending the array's events again one by one, below a savepoint.
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define PARAM_BYTES ((size_t)256 * 1024 * 1024)
#define PARAM_COUNT 6

/* --- the arrays of one statement ---------------------------------------------------------------
 */

static void put_element(struct ph_buf *out, struct ph_str text)
{
    ph_buf_putc(out, out->len == 0 ? '{' : ',');
    if (!text.ptr) {
        ph_buf_puts(out, "NULL");
        return;
    }
    ph_buf_putc(out, '"');
    size_t plain = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
            ph_buf_put(out, text.ptr + plain, i - plain);
            ph_buf_putc(out, '\\');
            plain = i;
        }
    }
    ph_buf_put(out, text.ptr + plain, text.len - plain);
    ph_buf_putc(out, '"');
}

static void put_event(struct ph_buf params[PARAM_COUNT], const struct ph_outbox_event *event)
{
    put_element(&params[0], event->id);
    put_element(&params[1], event->aggregate_type);
    put_element(&params[2], event->aggregate_id);
    put_element(&params[3], event->event_type);
    put_element(&params[4], event->headers);
    put_element(&params[5], event->payload);
}

static int insert(struct ph_pg *pg, const struct ph_outbox_event *events, size_t count,
                  struct ph_error *err)
{
    struct ph_buf params[PARAM_COUNT];
    const char *texts[PARAM_COUNT];
    int rc = 0;
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_init(&params[i], PARAM_BYTES);
    }
    for (size_t i = 0; i < count; i++) {
        put_event(params, &events[i]);
    }
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_putc(&params[i], '}');
        texts[i] = ph_buf_text(&params[i]);
        if (rc == 0) {
            rc = ph_buf_check(&params[i], "a statement", err);
        }
    }
    if (rc == 0) {
        rc = ph_pg_query(pg, ph_sql_postgres_q_publish_batch, PARAM_COUNT, texts, NULL, err);
    }
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_free(&params[i]);
    }
    return rc;
}

/* The statement was refused for its data: which event is it? */
static int find_bad(struct ph_pg *pg, const struct ph_outbox_event *events, size_t count,
                    size_t *bad, struct ph_error *err)
{
    struct ph_error one = {0};
    if (count == 1) {
        *bad = 0;
        return err->code;
    }
    int rc = ph_pg_query(pg, "ROLLBACK TO SAVEPOINT batch", 0, NULL, NULL, &one);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = insert(pg, &events[i], 1, &one);
        *bad = rc == PH_E_DATA ? i : count;
    }
    if (rc < 0) {
        *err = one;
    }
    return err->code;
}

/* --- transactions ------------------------------------------------------------------------------
 */

/* Lets go of what a failure left, where the server still answers. */
static void give_up(struct ph_pg_outbox *o)
{
    struct ph_error ignored = {0};
    PGTransactionStatusType status = PQtransactionStatus(o->pg.conn);
    if (status == PQTRANS_INTRANS || status == PQTRANS_INERROR) {
        (void)!ph_pg_query(&o->pg, "ROLLBACK", 0, NULL, NULL, &ignored);
    }
}

int ph__pg_outbox_begin(void *ctx, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    o->sent = false;
    int rc = ph_pg_script(
        &o->pg, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SAVEPOINT batch", NULL, err);
    return rc;
}

int ph__pg_outbox_insert(void *ctx, const struct ph_outbox_event *events, size_t count, size_t *bad,
                         struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    int rc = 0;
    *bad = count;
    if (o->sent) {
        rc = ph_pg_script(&o->pg, "RELEASE SAVEPOINT batch; SAVEPOINT batch", NULL, err);
    }
    if (rc == 0) {
        rc = insert(&o->pg, events, count, err);
    }
    o->sent = true;
    if (rc == PH_E_DATA) {
        rc = find_bad(&o->pg, events, count, bad, err);
    }
    if (rc < 0) {
        give_up(o);
    }
    return rc;
}

int ph__pg_outbox_commit(void *ctx, bool *unknown, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    int rc = ph_pg_query(&o->pg, "COMMIT", 0, NULL, NULL, err);
    /* An answer leaves the session idle; no answer leaves us not knowing. */
    *unknown = rc < 0 && PQtransactionStatus(o->pg.conn) != PQTRANS_IDLE;
    return rc;
}
