/*
 * Reads PostgreSQL's log for verify, page by page, and answers what it knows of a record.
 * Place: the driver's verify calls, over sql/postgres/q_verify_*.sql.
 * Promise: no snapshot is held between pages. That is safe, since what counts is fixed by the
 * checkpoint that was read first: a settled event never changes its place; it can only be cleared
 * with its bucket, and then a record of it is "beyond the log".
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define LOOKUP_BYTES ((size_t)64 * 1024)

/* The columns of the queries. */
enum { CP_POSITION, CP_SNAPSHOT, CP_BASE, CP_START, CP_ESTIMATE };
enum {
    ROW_POSITION,
    ROW_ID,
    ROW_SETTLED,
    ROW_SKIPPED,
    ROW_TYPE,
    ROW_AGGREGATE,
    ROW_EVENT,
    ROW_HEADERS
};

int ph__pg_outbox_verify_begin(void *ctx, const char *pipeline, int64_t *ret_estimate,
                               struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    const char *params[] = {pipeline};
    PQclear(o->checkpoint);
    o->checkpoint = NULL;
    ph_mem_free(o->pipeline);
    o->pipeline = ph_mem_strdup(pipeline);
    if (!o->pipeline) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_verify_checkpoint, 1, params,
                                &o->checkpoint, err);
    if (rc < 0) {
        return rc;
    }
    if (PQntuples(o->checkpoint) == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline \"%s\" has no checkpoint in this database: it never ran here, or "
                       "has another --name",
                       pipeline);
    }
    *ret_estimate = ph_pg_i64(o->checkpoint, 0, CP_ESTIMATE);
    return 0;
}

/* --- pages -------------------------------------------------------------------------------------
 */

static int give_row(const PGresult *res, int row,
                    int (*each)(void *arg, const struct ph_outbox_row *row), void *arg,
                    struct ph_error *err)
{
    if (*PQgetvalue(res, row, ROW_SETTLED) != 't') {
        return 0;
    }
    struct ph_outbox_row settled = {
        .position = ph_pg_i64(res, row, ROW_POSITION),
        .skipped = *PQgetvalue(res, row, ROW_SKIPPED) == 't',
        .aggregate_type = ph_str_from(ph_pg_value(res, row, ROW_TYPE)),
        .aggregate_id = ph_str_from(ph_pg_value(res, row, ROW_AGGREGATE)),
        .event_type = ph_str_from(ph_pg_value(res, row, ROW_EVENT)),
        .headers_json = ph_str_from(ph_pg_value(res, row, ROW_HEADERS)),
    };
    if (!ph_uuid_parse(ph_str_from(PQgetvalue(res, row, ROW_ID)), &settled.id)) {
        return ph_fail(err, PH_E_SOFTWARE, "the log gave an event id that is no UUID");
    }
    return each(arg, &settled);
}

int ph__pg_outbox_verify_page(void *ctx, int64_t *last,
                              int (*each)(void *arg, const struct ph_outbox_row *row), void *arg,
                              struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    char from[24];
    (void)snprintf(from, sizeof from, "%lld", (long long)*last);
    const PGresult *cp = o->checkpoint;
    const char *params[] = {from,
                            o->pipeline,
                            PQgetvalue(cp, 0, CP_SNAPSHOT),
                            PQgetvalue(cp, 0, CP_BASE),
                            PQgetvalue(cp, 0, CP_START),
                            PQgetvalue(cp, 0, CP_POSITION)};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_verify_page, 6, params, &res, err);
    int rows = rc < 0 ? 0 : PQntuples(res);
    for (int row = 0; rc == 0 && row < rows; row++) {
        rc = give_row(res, row, each, arg, err);
    }
    if (rc < 0 || rows == 0) {
        return rc;
    }
    *last = ph_pg_i64(res, rows - 1, ROW_POSITION);
    return 1;
}

/* --- what else the log knows -------------------------------------------------------------------
 */

int ph__pg_outbox_verify_oldest(void *ctx, int64_t *ret, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_verify_range, 0, NULL, &res, err);
    if (rc == 0) {
        bool some = PQntuples(res) == 1 && ph_pg_value(res, 0, 0);
        *ret = some ? ph_pg_i64(res, 0, 0) : INT64_MAX;
    }
    return rc;
}

static enum ph_origin origin_of(const char *word)
{
    return strcmp(word, "known") == 0  ? PH_ORIGIN_KNOWN
           : strcmp(word, "gone") == 0 ? PH_ORIGIN_GONE
                                       : PH_ORIGIN_NONE;
}

static int look_up(struct ph_pg *pg, const struct ph_outbox_question *questions, size_t count,
                   struct ph_buf *positions, struct ph_buf *ids, PGresult **ret,
                   struct ph_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&questions[i].id, id);
        ph_buf_printf(positions, "%c%lld", i ? ',' : '{', (long long)questions[i].position);
        ph_buf_printf(ids, "%c%s", i ? ',' : '{', id);
    }
    ph_buf_putc(positions, '}');
    ph_buf_putc(ids, '}');
    int rc = ph_buf_check(ids, "a statement", err);
    if (rc == 0) {
        const char *params[] = {ph_buf_text(positions), ph_buf_text(ids)};
        rc = ph__pg_outbox_read(pg, ph_sql_postgres_q_verify_lookup, 2, params, ret, err);
    }
    return rc;
}

int ph__pg_outbox_verify_lookup(void *ctx, const struct ph_outbox_question *questions, size_t count,
                                enum ph_origin *out, struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    struct ph_buf positions, ids;
    if (count == 0) {
        return 0;
    }
    ph_buf_init(&positions, LOOKUP_BYTES);
    ph_buf_init(&ids, LOOKUP_BYTES);
    int rc = look_up(&o->pg, questions, count, &positions, &ids, &res, err);
    ph_buf_free(&positions);
    ph_buf_free(&ids);
    if (rc < 0) {
        return rc;
    }
    if ((size_t)PQntuples(res) != count) {
        return ph_fail(err, PH_E_SOFTWARE, "the log answered another number of questions");
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = origin_of(PQgetvalue(res, (int)i, 1));
    }
    return 0;
}
