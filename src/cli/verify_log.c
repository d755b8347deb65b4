/*
 * Reads the log for verify, page by page, and answers what it knows of a record.
 * Place: between outbox/ and verify_compare.c.
 * Promise: what counts was fixed when the log was opened, so the pipeline may run meanwhile.
 */
#include "cli/verify_log.h"

#include "base/cleanup.h"

#define TOPIC_BYTES ((size_t)16 * 1024 * 1024)
#define ROUTE_BYTES ((size_t)64 * 1024 * 1024)

/* --- open --------------------------------------------------------------------------------------
 */

int ph_verify_log_open(struct ph_verify_log *log, const char *uri, const char *pipeline,
                       struct ph_error *err)
{
    *log = (struct ph_verify_log){.pipeline = pipeline, .oldest = INT64_MAX};
    ph_arena_init(&log->topic_text, TOPIC_BYTES);
    int rc = ph_database_open(&log->db, uri, "verify", err);
    return rc < 0 ? rc : log->db.driver->verify_begin(log->db.ctx, pipeline, &log->estimate, err);
}

void ph_verify_log_close(struct ph_verify_log *log)
{
    ph_database_close(&log->db);
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

/* What a page's rows are given to. */
struct taking {
    struct ph_verify_log *log;
    const struct ph_match_config *match;
    const struct ph_route *route; /* may be NULL */
    struct ph_compare *compare;
    struct ph_arena arena;
    struct ph_error *err;
};

static int route_event(struct taking *taking, struct ph_event *event)
{
    int rc = ph_route_event(taking->route, &taking->arena, event, taking->err);
    if (rc == PH_E_REFUSED) {
        ph_error_clear(taking->err); /* it has no topic, so it can only be missing, and will be */
        return 0;
    }
    return rc < 0 ? rc : keep_topic(taking->log, event->topic, taking->err);
}

static int take_row(void *arg, const struct ph_outbox_row *row)
{
    struct taking *taking = arg;
    struct ph_tick_span span = {0};
    struct ph_event event = {
        .position = row->position,
        .span = &span,
        .aggregate_type = row->aggregate_type,
        .aggregate_id = row->aggregate_id,
        .event_type = row->event_type,
        .headers_json = row->headers_json,
    };
    if (ph_match_wanted(taking->match)) {
        int takes = ph_match_event(taking->match, &taking->arena, &event, taking->err);
        if (takes <= 0) {
            return takes;
        }
    }
    if (row->skipped) {
        taking->log->skipped++;
        return 0;
    }
    int rc = ph_compare_event(taking->compare, &row->id, row->position, taking->err);
    return rc < 0 || !taking->route ? rc : route_event(taking, &event);
}

int ph_verify_log_read(struct ph_verify_log *log, const struct ph_match_config *match,
                       const struct ph_route *route, struct ph_compare *compare,
                       struct ph_error *err)
{
    struct taking taking = {
        .log = log, .match = match, .route = route, .compare = compare, .err = err};
    ph_arena_init(&taking.arena, ROUTE_BYTES);
    int64_t last = 0;
    int more;
    do {
        more = log->db.driver->verify_page(log->db.ctx, &last, take_row, &taking, err);
        ph_arena_reset(&taking.arena, ROUTE_BYTES);
    } while (more == 1);
    ph_arena_free(&taking.arena);
    pack_topics(log);
    return more;
}

/* --- what else the log knows -------------------------------------------------------------------
 */

int ph_verify_log_reopen(struct ph_verify_log *log, const char *uri, struct ph_error *err)
{
    ph_database_close(&log->db);
    int rc = ph_database_open(&log->db, uri, "verify", err);
    return rc < 0 ? rc : log->db.driver->verify_oldest(log->db.ctx, &log->oldest, err);
}

/* Those that lie before the log are answered at once; the database is asked for the others. */
int ph_verify_log_ask(void *arg, const struct ph_finding *records, size_t count,
                      enum ph_origin *out, struct ph_error *err)
{
    const struct ph_verify_log *log = arg;
    struct ph_outbox_question questions[PH_COMPARE_LOOKUP_MAX];
    enum ph_origin answers[PH_COMPARE_LOOKUP_MAX];
    size_t asked = 0;
    for (size_t i = 0; i < count; i++) {
        if (records[i].at.position >= log->oldest) {
            questions[asked++] = (struct ph_outbox_question){records[i].at.position, records[i].id};
        }
    }
    int rc =
        asked == 0 ? 0 : log->db.driver->verify_lookup(log->db.ctx, questions, asked, answers, err);
    for (size_t i = 0, next = 0; rc == 0 && i < count; i++) {
        out[i] = records[i].at.position >= log->oldest ? answers[next++] : PH_ORIGIN_GONE;
    }
    return rc;
}

struct pending {
    int64_t *events;
    bool *estimated;
};

static int take_status(void *arg, const struct ph_outbox_status *status)
{
    struct pending *pending = arg;
    int64_t events = 0;
    if (status->lag_events && ph_str_i64(ph_str_from(status->lag_events), &events)) {
        *pending->events += events;
        *pending->estimated = *pending->estimated || status->lag_estimated;
    }
    return 0;
}

int ph_verify_log_pending(struct ph_verify_log *log, int64_t *ret, bool *ret_estimated,
                          struct ph_error *err)
{
    struct pending pending = {ret, ret_estimated};
    *ret = 0;
    *ret_estimated = false;
    return log->db.driver->status(log->db.ctx, log->pipeline, take_status, &pending, err);
}
