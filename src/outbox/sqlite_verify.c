/*
 * Reads SQLite's log for verify, page by page, and answers what it knows of a record.
 * Place: the driver's verify calls, over sql/sqlite/q_verify_*.sql.
 * Promise: no read transaction is held between pages. That is safe, since what counts is fixed by
 * the checkpoint that was read first; a settled event can only be cleared, from the oldest on.
 */
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

/* The columns of q_verify_page.sql. */
enum { ROW_POSITION, ROW_ID, ROW_SKIPPED, ROW_TYPE, ROW_AGGREGATE, ROW_EVENT, ROW_HEADERS };

int ph__sqlite_outbox_verify_begin(void *ctx, const char *pipeline, int64_t *ret_estimate,
                                   struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    ph_mem_free(o->pipeline);
    o->pipeline = ph_mem_strdup(pipeline);
    if (!o->pipeline) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    const struct ph_sqlite_param params[] = {ph_sqlite_text(pipeline)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&o->db, ph_sql_sqlite_q_verify_checkpoint, params, 1, &stmt, err);
    if (rc == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline \"%s\" has no checkpoint in this database: it never ran here, or "
                       "has another --name",
                       pipeline);
    }
    if (rc < 0) {
        return rc;
    }
    o->first = sqlite3_column_int64(stmt, 0);
    o->settled = sqlite3_column_int64(stmt, 1);
    *ret_estimate = sqlite3_column_int64(stmt, 2);
    return 0;
}

/* A skipped event may have an id that is none. */
static struct ph_outbox_row row_of(sqlite3_stmt *stmt)
{
    struct ph_outbox_row row = {
        .position = sqlite3_column_int64(stmt, ROW_POSITION),
        .skipped = sqlite3_column_int(stmt, ROW_SKIPPED) != 0,
        .aggregate_type = ph_sqlite_column(stmt, ROW_TYPE),
        .aggregate_id = ph_sqlite_column(stmt, ROW_AGGREGATE),
        .event_type = ph_sqlite_column(stmt, ROW_EVENT),
        .headers_json = ph_sqlite_column(stmt, ROW_HEADERS),
    };
    if (!ph_uuid_parse(ph_sqlite_column(stmt, ROW_ID), &row.id)) {
        row.id = (struct ph_uuid){{0}};
    }
    return row;
}

int ph__sqlite_outbox_verify_page(void *ctx, int64_t *last,
                                  int (*each)(void *arg, const struct ph_outbox_row *row),
                                  void *arg, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int64_t from = *last < o->first ? o->first : *last;
    const struct ph_sqlite_param params[] = {ph_sqlite_i64(from), ph_sqlite_text(o->pipeline),
                                             ph_sqlite_i64(o->settled)};
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&o->db, ph_sql_sqlite_q_verify_page, params, 3, &stmt, err);
    bool some = rc == 1;
    while (rc == 1) {
        struct ph_outbox_row row = row_of(stmt);
        *last = row.position;
        rc = each(arg, &row);
        if (rc == 0) {
            rc = ph_sqlite_step(&o->db, stmt, err);
        }
    }
    return rc < 0 ? rc : some;
}

int ph__sqlite_outbox_verify_oldest(void *ctx, int64_t *ret, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(&o->db, ph_sql_sqlite_q_verify_oldest, NULL, 0, &stmt, err);
    if (rc == 1) {
        bool known = sqlite3_column_type(stmt, 0) != SQLITE_NULL;
        *ret = known ? sqlite3_column_int64(stmt, 0) : INT64_MAX;
    }
    return rc < 0 ? rc : 0;
}

static enum ph_origin origin_of(sqlite3_stmt *stmt, const struct ph_uuid *id)
{
    struct ph_uuid found;
    struct ph_str text = ph_sqlite_column(stmt, 0);
    if (text.ptr) {
        return ph_uuid_parse(text, &found) && memcmp(&found, id, sizeof found) == 0
                   ? PH_ORIGIN_KNOWN
                   : PH_ORIGIN_NONE;
    }
    return sqlite3_column_int(stmt, 1) != 0 ? PH_ORIGIN_GONE : PH_ORIGIN_NONE;
}

int ph__sqlite_outbox_verify_lookup(void *ctx, const struct ph_outbox_question *questions,
                                    size_t count, enum ph_origin *out, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_prepare(&o->db, ph_sql_sqlite_q_verify_lookup, &stmt, err);
    for (size_t i = 0; rc >= 0 && i < count; i++) {
        const struct ph_sqlite_param params[] = {ph_sqlite_i64(questions[i].position)};
        rc = ph_sqlite_bind(&o->db, stmt, params, 1, err);
        if (rc == 0) {
            rc = ph_sqlite_step(&o->db, stmt, err);
        }
        if (rc == 1) {
            out[i] = origin_of(stmt, &questions[i].id);
        }
    }
    return rc < 0 ? rc : 0;
}
