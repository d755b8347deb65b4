/*
 * Puts events into SQLite's outbox. Place: the driver's begin, insert, commit.
 * Promise: positions are drawn in the order of the array; what the reader would refuse later is
 * refused here, with the event at fault; a commit that was confirmed is on disk.
 */
#include "base/clock.h"
#include "base/json.h"
#include "outbox/sqlite.h"
#include "sql_sqlite.h"

/* Lets go of what a failure left. */
static void give_up(struct ph_sqlite_outbox *o)
{
    struct ph_error ignored = {0};
    if (!sqlite3_get_autocommit(o->db.conn)) {
        (void)!ph_sqlite_script(&o->db, "ROLLBACK", &ignored);
    }
}

int ph__sqlite_outbox_begin(void *ctx, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int rc = o->insert ? 0 : ph_sqlite_prepare(&o->db, ph_sql_sqlite_q_insert, &o->insert, err);
    if (rc == 0) {
        rc = ph_sqlite_script(&o->db, "PRAGMA synchronous = full; BEGIN IMMEDIATE", err);
    }
    return rc;
}

static int check_name(const char *what, struct ph_str text, struct ph_error *err)
{
    if (text.len == 0 || !ph_str_utf8(text) || memchr(text.ptr, '\0', text.len)) {
        return ph_fail(err, PH_E_DATA, "%s must be a text in UTF-8 that is not empty", what);
    }
    return 0;
}

static int check_event(const struct ph_outbox_event *event, struct ph_error *err)
{
    struct ph_error why = {0};
    int rc = check_name("aggregate_type", event->aggregate_type, err);
    if (rc == 0) {
        rc = check_name("aggregate_id", event->aggregate_id, err);
    }
    if (rc == 0) {
        rc = check_name("event_type", event->event_type, err);
    }
    if (rc == 0 && event->headers.ptr &&
        (!ph_json_is_object(event->headers) || ph_json_check(event->headers, &why) < 0)) {
        rc = ph_fail(err, PH_E_DATA, "headers must be a JSON object%s%s", *why.text ? ": " : "",
                     why.text);
    }
    if (rc == 0 && event->payload.ptr && ph_json_check(event->payload, &why) < 0) {
        rc = ph_fail(err, PH_E_DATA, "payload must be JSON: %s", why.text);
    }
    return rc;
}

static int insert_one(struct ph_sqlite_outbox *o, const struct ph_outbox_event *event,
                      struct ph_error *err)
{
    struct ph_uuid id;
    char text[PH_UUID_TEXT_LEN + 1];
    if (!event->id.ptr) {
        ph_uuid_random(&id);
    } else if (!ph_uuid_parse(event->id, &id)) {
        return ph_fail(err, PH_E_DATA, "the id of an event must be a UUID");
    }
    int rc = check_event(event, err);
    if (rc < 0) {
        return rc;
    }
    ph_uuid_format(&id, text);
    const struct ph_sqlite_param params[] = {
        ph_sqlite_text(text),
        ph_sqlite_str(event->aggregate_type),
        ph_sqlite_str(event->aggregate_id),
        ph_sqlite_str(event->event_type),
        ph_sqlite_str(event->headers.ptr ? event->headers : PH_STR("{}")),
        ph_sqlite_str(event->payload),
    };
    rc = ph_sqlite_bind(&o->db, o->insert, params, sizeof params / sizeof params[0], err);
    return rc < 0 ? rc : ph_sqlite_step(&o->db, o->insert, err);
}

int ph__sqlite_outbox_insert(void *ctx, const struct ph_outbox_event *events, size_t count,
                             size_t *bad, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    *bad = count;
    for (size_t i = 0; i < count; i++) {
        int rc = insert_one(o, &events[i], err);
        if (rc < 0) {
            *bad = rc == PH_E_DATA ? i : count;
            give_up(o);
            return rc;
        }
    }
    return 0;
}

/* Frames of a commit whose sync failed may be found again after a crash. */
int ph__sqlite_outbox_commit(void *ctx, bool *unknown, struct ph_error *err)
{
    struct ph_sqlite_outbox *o = ctx;
    int rc = ph_sqlite_script(&o->db, "COMMIT", err);
    *unknown = rc == PH_E_IO;
    if (rc < 0) {
        give_up(o);
    }
    return rc;
}
