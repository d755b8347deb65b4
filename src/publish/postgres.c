/*
 * Publishing on the caller's PGconn: one INSERT for all events of a call, one binary array a field.
 * Place: the library's PostgreSQL half; nothing else of it knows libpq.
 * Promise: one statement (two when events are strict) inside the caller's transaction, and no word
 * to the server when there is none, since publishing outside of one is the dual write again.
 */
#include <endian.h>
#include <libpq-fe.h>
#include <posthorn/postgres.h>

#include "db/pg_error.h"
#include "publish/event.h"
#include "sql_publish.h"

#define PARAM_COUNT 8
#define PARAM_BYTES ((size_t)POSTHORN_BATCH_BYTES + (size_t)64 * POSTHORN_BATCH_MAX)

/* Types that are never renumbered: catalog/pg_type.dat */
enum pg_type { PG_BYTEA = 17, PG_TEXT = 25, PG_UUID = 2950 };
enum pg_array { PG_BYTEA_ARRAY = 1001, PG_TEXT_ARRAY = 1009, PG_UUID_ARRAY = 2951 };

/* --- the caller's connection -------------------------------------------------------------------
 */

static int check_transaction(PGconn *conn, struct ph_error *err)
{
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_INTRANS:
        return 0;
    case PQTRANS_IDLE:
        return ph_fail(err, PH_E_USAGE,
                       "no transaction is open: BEGIN one, write what the event tells of, publish, "
                       "COMMIT");
    case PQTRANS_INERROR:
        return ph_fail(err, PH_E_USAGE, "the transaction has failed already: roll it back");
    case PQTRANS_ACTIVE:
        return ph_fail(err, PH_E_USAGE, "another command is under way on this connection");
    case PQTRANS_UNKNOWN:
    default:
        return ph_fail(err, PH_E_UNAVAILABLE, "the connection to PostgreSQL is lost");
    }
}

static int check_conn(PGconn *conn, struct ph_error *err)
{
    if (!conn) {
        return ph_fail(err, PH_E_USAGE, "no connection was given (NULL)");
    }
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF) {
        return ph_fail(err, PH_E_USAGE, "the connection is in pipeline mode");
    }
    int rc = check_transaction(conn, err);
    const char *encoding = rc == 0 ? PQparameterStatus(conn, "client_encoding") : NULL;
    if (encoding && strcmp(encoding, "UTF8") != 0 && strcmp(encoding, "SQL_ASCII") != 0) {
        return ph_fail(err, PH_E_USAGE,
                       "client_encoding is %s: call PQsetClientEncoding(conn, \"UTF8\")", encoding);
    }
    return rc;
}

/* --- arrays, as array_recv() takes them --------------------------------------------------------
 */

static void put_i32(struct ph_buf *out, size_t value)
{
    uint32_t wire = htobe32((uint32_t)value);
    ph_buf_put(out, &wire, sizeof wire);
}

static void put_element(struct ph_buf *out, struct ph_str value)
{
    put_i32(out, value.ptr ? value.len : UINT32_MAX); /* -1 = NULL */
    if (value.ptr) {
        ph_buf_put(out, value.ptr, value.len);
    }
}

static void put_array_head(struct ph_buf *out, enum pg_type type, size_t count)
{
    put_i32(out, 1); /* dimension */
    put_i32(out, 1); /* there may be NULLs */
    put_i32(out, type);
    put_i32(out, count);
    put_i32(out, 1); /* first index */
}

struct params {
    struct ph_buf bufs[PARAM_COUNT];
    Oid types[PARAM_COUNT];
    int count;
};

static struct ph_buf *add_param(struct params *params, enum pg_array array, enum pg_type type,
                                size_t count)
{
    struct ph_buf *out = &params->bufs[params->count];
    ph_buf_init(out, PARAM_BYTES);
    params->types[params->count++] = array;
    put_array_head(out, type, count);
    return out;
}

static void add_ids(struct params *params, const struct ph_publish_batch *batch)
{
    struct ph_buf *out = add_param(params, PG_UUID_ARRAY, PG_UUID, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        const struct ph_uuid *id = &batch->rows[i].id;
        put_element(out, (struct ph_str){(const char *)id->bytes, sizeof id->bytes});
    }
}

/* The field at an offset in struct ph_publish_row, of all rows. */
static void add_field(struct params *params, const struct ph_publish_batch *batch, size_t offset,
                      enum pg_array array, enum pg_type type)
{
    struct ph_buf *out = add_param(params, array, type, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        struct ph_str value;
        memcpy(&value, (const char *)&batch->rows[i] + offset, sizeof value);
        put_element(out, value);
    }
}

static void add_keys(struct params *params, const struct ph_publish_batch *batch)
{
    struct ph_buf *out = add_param(params, PG_TEXT_ARRAY, PG_TEXT, batch->strict_count);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->rows[i].strict) {
            put_element(out, batch->rows[i].aggregate_id);
        }
    }
}

static void free_params(struct params *params)
{
    for (int i = 0; i < params->count; i++) {
        ph_buf_free(&params->bufs[i]);
    }
}

/* --- statements --------------------------------------------------------------------------------
 */

static int check_result(PGconn *conn, const PGresult *result, struct ph_error *err)
{
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        return 0;
    }
    int rc = result ? ph_pg_fail_result(result, err) : ph_pg_fail_lost(conn, err);
    if (rc != PH_E_SOFTWARE && rc != PH_E_CONFIG) {
        return rc;
    }
    struct ph_error why = *err; /* the statements are right for this version's schema only */
    return ph_fail(err, PH_E_CONFIG,
                   "%s; has `posthorn init` been run here, and is this role a posthorn_writer?",
                   why.text);
}

static int run(PGconn *conn, const char *sql, const struct params *params, struct ph_error *err)
{
    static const int binary[PARAM_COUNT] = {1, 1, 1, 1, 1, 1, 1, 1};
    const char *values[PARAM_COUNT];
    int lengths[PARAM_COUNT];
    for (int i = 0; i < params->count; i++) {
        int rc = ph_buf_check(&params->bufs[i], "the statement", err);
        if (rc < 0) {
            return rc;
        }
        values[i] = params->bufs[i].ptr;
        lengths[i] = (int)params->bufs[i].len;
    }
    PGresult *result =
        PQexecParams(conn, sql, params->count, params->types, values, lengths, binary, 0);
    int rc = check_result(conn, result, err);
    PQclear(result);
    return rc;
}

static int lock_keys(PGconn *conn, const struct ph_publish_batch *batch, struct ph_error *err)
{
    struct params params = {.count = 0};
    add_keys(&params, batch);
    int rc = run(conn, ph_sql_publish_q_publish_lock, &params, err);
    free_params(&params);
    return rc;
}

static int insert(PGconn *conn, const struct ph_publish_batch *batch, struct ph_error *err)
{
#define FIELD(name) offsetof(struct ph_publish_row, name)
    struct params params = {.count = 0};
    add_ids(&params, batch);
    add_field(&params, batch, FIELD(aggregate_type), PG_TEXT_ARRAY, PG_TEXT);
    add_field(&params, batch, FIELD(aggregate_id), PG_TEXT_ARRAY, PG_TEXT);
    add_field(&params, batch, FIELD(event_type), PG_TEXT_ARRAY, PG_TEXT);
    add_field(&params, batch, FIELD(headers_json), PG_TEXT_ARRAY, PG_TEXT);
    add_field(&params, batch, FIELD(payload), PG_TEXT_ARRAY, PG_TEXT);
    add_field(&params, batch, FIELD(payload_bytes), PG_BYTEA_ARRAY, PG_BYTEA);
    add_field(&params, batch, FIELD(content_type), PG_TEXT_ARRAY, PG_TEXT);
    int rc = run(conn, ph_sql_publish_q_publish_events, &params, err);
    free_params(&params);
    return rc;
#undef FIELD
}

int posthorn_publish_batch_postgres(struct pg_conn *conn, const struct posthorn_event *events,
                                    size_t count, char (*ids_out)[POSTHORN_ID_SIZE],
                                    struct posthorn_error *error)
{
    struct ph_publish_batch batch;
    struct ph_error err = {0};
    int rc = ph_publish_check(events, count, &batch, &err);
    if (rc == 0) {
        rc = check_conn(conn, &err);
    }
    if (rc == 0 && batch.strict_count > 0) {
        rc = lock_keys(conn, &batch, &err);
    }
    if (rc == 0 && count > 0) {
        rc = insert(conn, &batch, &err);
    }
    return ph_publish_end(&batch, ids_out, rc, &err, error);
}

int posthorn_publish_postgres(struct pg_conn *conn, const struct posthorn_event *event,
                              char id_out[POSTHORN_ID_SIZE], struct posthorn_error *error)
{
    return posthorn_publish_batch_postgres(conn, event, 1, (char(*)[POSTHORN_ID_SIZE])id_out,
                                           error);
}
