/*
 * Collects events and inserts them with one statement per up to 1,000 of them.
 * Place: below `publish --ndjson`; above db/postgres.
 * Promise: positions are drawn in line order; a transaction is kept whole or not at all; data that
 * the server refuses is traced to its line by sending the statement's lines again one by one.
 */
#include "cli/publisher.h"

#include "base/buf.h"
#include "sql_postgres.h"

#define STATEMENT_BYTES ((size_t)4 * 1024 * 1024)
#define ARENA_BYTES     (STATEMENT_BYTES + 3 * PH_PUBLISH_LINE_MAX)
#define PARAM_BYTES     ((size_t)256 * 1024 * 1024)
#define PARAM_COUNT     6

void ph_publisher_init(struct ph_publisher *publisher, struct ph_pg *pg)
{
    *publisher = (struct ph_publisher){.pg = pg};
    ph_arena_init(&publisher->arena, ARENA_BYTES);
}

void ph_publisher_free(struct ph_publisher *publisher)
{
    ph_arena_free(&publisher->arena);
}

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

static void put_event(struct ph_buf params[PARAM_COUNT], const struct ph_ndjson_event *event)
{
    put_element(&params[0], event->id);
    put_element(&params[1], event->aggregate_type);
    put_element(&params[2], event->aggregate_id);
    put_element(&params[3], event->event_type);
    put_element(&params[4], event->headers);
    put_element(&params[5], event->payload);
}

static int insert(struct ph_publisher *p, size_t from, size_t count, struct ph_error *err)
{
    struct ph_buf params[PARAM_COUNT];
    const char *texts[PARAM_COUNT];
    int rc = 0;
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_init(&params[i], PARAM_BYTES);
    }
    for (size_t i = from; i < from + count; i++) {
        put_event(params, &p->events[i]);
    }
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_putc(&params[i], '}');
        texts[i] = ph_buf_text(&params[i]);
        if (rc == 0) {
            rc = ph_buf_check(&params[i], "a statement", err);
        }
    }
    if (rc == 0) {
        rc = ph_pg_query(p->pg, ph_sql_postgres_q_publish_batch, PARAM_COUNT, texts, NULL, err);
    }
    for (size_t i = 0; i < PARAM_COUNT; i++) {
        ph_buf_free(&params[i]);
    }
    return rc;
}

/* --- transactions ------------------------------------------------------------------------------
 */

/* The statement was refused for its data: which line is it? The transaction is lost in any case. */
static int find_line(struct ph_publisher *p, struct ph_error *err)
{
    struct ph_error one = {0};
    int rc = ph_pg_query(p->pg, "ROLLBACK TO SAVEPOINT batch", 0, NULL, NULL, &one);
    for (size_t i = 0; rc == 0 && i < p->count; i++) {
        rc = insert(p, i, 1, &one);
        p->bad_line = rc == PH_E_DATA ? p->lines[i] : 0;
    }
    if (rc < 0) {
        *err = one;
    }
    return err->code;
}

static int send_collected(struct ph_publisher *p, struct ph_error *err)
{
    if (p->count == 0) {
        return 0;
    }
    int rc =
        ph_pg_script(p->pg,
                     p->begun ? "RELEASE SAVEPOINT batch; SAVEPOINT batch"
                              : "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SAVEPOINT batch",
                     NULL, err);
    if (rc < 0) {
        return rc;
    }
    p->begun = true;
    rc = insert(p, 0, p->count, err);
    if (rc == PH_E_DATA) {
        rc = find_line(p, err);
    }
    if (rc < 0) {
        return rc;
    }
    p->count = 0;
    p->bytes = 0;
    ph_arena_reset(&p->arena, STATEMENT_BYTES);
    return 0;
}

static int commit(struct ph_publisher *p, struct ph_error *err)
{
    int rc = send_collected(p, err);
    if (rc < 0 || !p->begun) {
        return rc;
    }
    rc = ph_pg_query(p->pg, "COMMIT", 0, NULL, NULL, err);
    if (rc < 0) {
        /* An answer leaves the session idle; no answer leaves us not knowing. */
        p->unknown_outcome = PQtransactionStatus(p->pg->conn) != PQTRANS_IDLE;
        return rc;
    }
    p->events_committed += (int64_t)p->transaction_events;
    p->transactions_committed++;
    p->transaction_events = 0;
    p->begun = false;
    return 0;
}

int ph_publisher_add(struct ph_publisher *p, struct ph_str line, int64_t number,
                     struct ph_error *err)
{
    if (p->count > 0 && p->bytes + line.len > STATEMENT_BYTES) {
        int rc = send_collected(p, err);
        if (rc < 0) {
            return rc;
        }
    }
    char *kept = ph_arena_copy(&p->arena, line.ptr, line.len);
    if (!kept) {
        return ph_fail(err, PH_E_NOMEM, "out of memory for a line");
    }
    p->lines[p->count] = number;
    int rc = ph_ndjson_parse(&p->arena, (struct ph_str){kept, line.len}, &p->events[p->count], err);
    if (rc < 0) {
        p->bad_line = number;
        return rc;
    }
    p->count++;
    p->bytes += line.len;
    p->transaction_events++;
    return p->transaction_events == PH_PUBLISH_EVENTS ? commit(p, err) : 0;
}

int ph_publisher_finish(struct ph_publisher *publisher, struct ph_error *err)
{
    return commit(publisher, err);
}
