/*
 * Reads the log for verify, page by page, and answers what it knows of a record.
 * Place: between PostgreSQL and verify_compare.c.
 * Promise: no snapshot is held between pages. That is safe, since what counts is fixed by the
 * checkpoint that was read first: a settled event never changes; it can only be cleared with its
 * bucket, and then a record of it is "beyond the log".
 */
#include "cli/verify_log.h"

#include "cli/database.h"
#include "sql_postgres.h"

/* The columns of the queries. */
enum { CP_TICK, CP_POSITION, CP_SNAPSHOT, CP_BASE, CP_START, CP_ESTIMATE };
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
#define STATUS_LAG_EVENTS    4
#define STATUS_LAG_ESTIMATED 5

#define TOPIC_BYTES          ((size_t)16 * 1024 * 1024)
#define ROUTE_BYTES          ((size_t)64 * 1024 * 1024)

/* --- open --------------------------------------------------------------------------------------
 */

static int read_checkpoint(struct ph_verify_log *log, struct ph_error *err)
{
    const char *params[] = {log->pipeline};
    int rc = ph_database_read(&log->pg, ph_sql_postgres_q_verify_checkpoint, 1, params,
                              &log->checkpoint, err);
    if (rc < 0) {
        return rc;
    }
    if (PQntuples(log->checkpoint) == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "pipeline \"%s\" has no checkpoint in this database: it never ran here, or "
                       "has another --name",
                       log->pipeline);
    }
    log->estimate = ph_pg_i64(log->checkpoint, 0, CP_ESTIMATE);
    return 0;
}

int ph_verify_log_open(struct ph_verify_log *log, const char *uri, const char *pipeline,
                       struct ph_error *err)
{
    *log = (struct ph_verify_log){.pipeline = pipeline, .oldest = INT64_MAX};
    ph_arena_init(&log->topic_text, TOPIC_BYTES);
    int rc = ph_database_open(&log->pg, uri, "verify", err);
    return rc < 0 ? rc : read_checkpoint(log, err);
}

void ph_verify_log_close(struct ph_verify_log *log)
{
    PQclear(log->checkpoint);
    ph_pg_close(&log->pg);
    ph_arena_free(&log->topic_text);
    ph_mem_free(log->topics);
    *log = (struct ph_verify_log){0};
}

/* --- topics ------------------------------------------------------------------------------------
 */

/* The slot of a topic: its own, or a free one. */
static struct ph_str *find_topic(struct ph_str *slots, size_t count, struct ph_str topic)
{
    size_t at = (size_t)(ph_str_hash(topic) % count);
    while (slots[at].ptr && !ph_str_eq(slots[at], topic)) {
        at = (at + 1) % count;
    }
    return &slots[at];
}

static int keep_topic(struct ph_verify_log *log, struct ph_str topic, struct ph_error *err)
{
    if (!log->topics) {
        log->topic_slots = PH_VERIFY_TOPICS_MAX * 2;
        log->topics = ph_mem_zero(log->topic_slots, sizeof *log->topics);
        if (!log->topics) {
            return ph_fail(err, PH_E_NOMEM, "out of memory");
        }
    }
    struct ph_str *slot = find_topic(log->topics, log->topic_slots, topic);
    if (slot->ptr) {
        return 0;
    }
    if (log->topic_count == PH_VERIFY_TOPICS_MAX) {
        return ph_fail(err, PH_E_CONFIG, "the route gives more than %zu topics: too many to verify",
                       PH_VERIFY_TOPICS_MAX);
    }
    slot->ptr = ph_arena_copy(&log->topic_text, topic.ptr, topic.len);
    slot->len = topic.len;
    log->topic_count++;
    return slot->ptr ? 0 : ph_fail(err, PH_E_NOMEM, "out of memory for topics");
}

/* Closes the gaps of the hash table: topics[0 .. topic_count) from now on. */
static void pack_topics(struct ph_verify_log *log)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->topic_slots; i++) {
        if (log->topics[i].ptr) {
            log->topics[kept++] = log->topics[i];
        }
    }
    log->topic_slots = 0;
}

/* --- pages -------------------------------------------------------------------------------------
 */

static int route_row(struct ph_verify_log *log, const struct ph_route *route,
                     struct ph_arena *arena, const PGresult *res, int row, struct ph_error *err)
{
    struct ph_tick_span span = {0};
    struct ph_event event = {
        .position = ph_pg_i64(res, row, ROW_POSITION),
        .span = &span,
        .aggregate_type = ph_str_from(ph_pg_value(res, row, ROW_TYPE)),
        .aggregate_id = ph_str_from(ph_pg_value(res, row, ROW_AGGREGATE)),
        .event_type = ph_str_from(ph_pg_value(res, row, ROW_EVENT)),
        .headers_json = ph_str_from(ph_pg_value(res, row, ROW_HEADERS)),
    };
    int rc = ph_route_event(route, arena, &event, err);
    if (rc == PH_E_REFUSED) {
        ph_error_clear(err); /* it has no topic, so it can only be missing, and will be found so */
        return 0;
    }
    return rc < 0 ? rc : keep_topic(log, event.topic, err);
}

static int take_row(struct ph_verify_log *log, const struct ph_route *route, struct ph_arena *arena,
                    struct ph_compare *compare, const PGresult *res, int row, struct ph_error *err)
{
    if (*PQgetvalue(res, row, ROW_SETTLED) != 't') {
        return 0;
    }
    if (*PQgetvalue(res, row, ROW_SKIPPED) == 't') {
        log->skipped++;
        return 0;
    }
    struct ph_uuid id;
    if (!ph_uuid_parse(ph_str_from(PQgetvalue(res, row, ROW_ID)), &id)) {
        return ph_fail(err, PH_E_SOFTWARE, "the log gave an event id that is no UUID");
    }
    int rc = ph_compare_event(compare, &id, ph_pg_i64(res, row, ROW_POSITION), err);
    return rc < 0 || !route ? rc : route_row(log, route, arena, res, row, err);
}

/* 1 = a page was taken and *last moved, 0 = the log ends here. */
static int take_page(struct ph_verify_log *log, const struct ph_route *route,
                     struct ph_arena *arena, struct ph_compare *compare, int64_t *last,
                     struct ph_error *err)
{
    char from[24];
    (void)snprintf(from, sizeof from, "%lld", (long long)*last);
    const PGresult *cp = log->checkpoint;
    const char *params[] = {from,
                            log->pipeline,
                            PQgetvalue(cp, 0, CP_SNAPSHOT),
                            PQgetvalue(cp, 0, CP_BASE),
                            PQgetvalue(cp, 0, CP_START),
                            PQgetvalue(cp, 0, CP_POSITION)};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_database_read(&log->pg, ph_sql_postgres_q_verify_page, 6, params, &res, err);
    int rows = rc < 0 ? 0 : PQntuples(res);
    for (int row = 0; rc == 0 && row < rows; row++) {
        rc = take_row(log, route, arena, compare, res, row, err);
    }
    ph_arena_reset(arena, ROUTE_BYTES);
    if (rc < 0 || rows == 0) {
        return rc;
    }
    *last = ph_pg_i64(res, rows - 1, ROW_POSITION);
    return 1;
}

int ph_verify_log_read(struct ph_verify_log *log, const struct ph_route *route,
                       struct ph_compare *compare, struct ph_error *err)
{
    struct ph_arena arena;
    ph_arena_init(&arena, ROUTE_BYTES);
    int64_t last = 0;
    int more;
    do {
        more = take_page(log, route, &arena, compare, &last, err);
    } while (more == 1);
    ph_arena_free(&arena);
    pack_topics(log);
    return more;
}

/* --- what else the log knows -------------------------------------------------------------------
 */

int ph_verify_log_reopen(struct ph_verify_log *log, const char *uri, struct ph_error *err)
{
    ph_pg_close(&log->pg);
    int rc = ph_database_open(&log->pg, uri, "verify", err);
    if (rc < 0) {
        return rc;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    rc = ph_database_read(&log->pg, ph_sql_postgres_q_verify_range, 0, NULL, &res, err);
    if (rc == 0 && PQntuples(res) == 1) {
        log->oldest = ph_pg_value(res, 0, 0) ? ph_pg_i64(res, 0, 0) : INT64_MAX;
    }
    return rc;
}

static enum ph_origin origin_of(const char *word)
{
    return strcmp(word, "known") == 0  ? PH_ORIGIN_KNOWN
           : strcmp(word, "gone") == 0 ? PH_ORIGIN_GONE
                                       : PH_ORIGIN_NONE;
}

/* Puts those that the log must be asked for into the two arrays; the others are answered at once.
 */
static size_t put_questions(const struct ph_verify_log *log, const struct ph_finding *records,
                            size_t count, enum ph_origin *out, struct ph_buf *positions,
                            struct ph_buf *ids)
{
    size_t asked = 0;
    for (size_t i = 0; i < count; i++) {
        if (records[i].at.position < log->oldest) {
            out[i] = PH_ORIGIN_GONE;
            continue;
        }
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&records[i].id, id);
        ph_buf_printf(positions, "%c%lld", asked ? ',' : '{', (long long)records[i].at.position);
        ph_buf_printf(ids, "%c%s", asked ? ',' : '{', id);
        out[i] = PH_ORIGIN_KNOWN;
        asked++;
    }
    ph_buf_putc(positions, '}');
    ph_buf_putc(ids, '}');
    return asked;
}

static int ask(struct ph_verify_log *log, const struct ph_finding *records, size_t count,
               enum ph_origin *out, struct ph_buf *positions, struct ph_buf *ids,
               struct ph_error *err)
{
    size_t asked = put_questions(log, records, count, out, positions, ids);
    if (asked == 0) {
        return 0;
    }
    int rc = ph_buf_check(ids, "a statement", err);
    if (rc < 0) {
        return rc;
    }
    const char *params[] = {ph_buf_text(positions), ph_buf_text(ids)};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    rc = ph_database_read(&log->pg, ph_sql_postgres_q_verify_lookup, 2, params, &res, err);
    if (rc < 0) {
        return rc;
    }
    if ((size_t)PQntuples(res) != asked) {
        return ph_fail(err, PH_E_SOFTWARE, "the log answered another number of questions");
    }
    int row = 0;
    for (size_t i = 0; i < count; i++) {
        if (out[i] != PH_ORIGIN_GONE) {
            out[i] = origin_of(PQgetvalue(res, row++, 1));
        }
    }
    return 0;
}

int ph_verify_log_ask(void *arg, const struct ph_finding *records, size_t count,
                      enum ph_origin *out, struct ph_error *err)
{
    struct ph_buf positions, ids;
    ph_buf_init(&positions, 64 * PH_COMPARE_LOOKUP_MAX);
    ph_buf_init(&ids, 64 * PH_COMPARE_LOOKUP_MAX);
    int rc = ask(arg, records, count, out, &positions, &ids, err);
    ph_buf_free(&positions);
    ph_buf_free(&ids);
    return rc;
}

int ph_verify_log_pending(struct ph_verify_log *log, int64_t *ret, bool *ret_estimated,
                          struct ph_error *err)
{
    const char *params[] = {log->pipeline};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_database_read(&log->pg, ph_sql_postgres_q_status, 1, params, &res, err);
    if (rc == 0 && PQntuples(res) > 0) {
        *ret = ph_pg_i64(res, 0, STATUS_LAG_EVENTS);
        *ret_estimated = strcmp(PQgetvalue(res, 0, STATUS_LAG_ESTIMATED), "t") == 0;
    }
    return rc;
}
