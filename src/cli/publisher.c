/*
 * Collects events and gives them to the outbox, up to 1,000 or 4 MiB at a time.
 * Place: below `publish --ndjson`; above outbox/.
 * Promise: positions are drawn in line order; a transaction is kept whole or not at all; data that
 * the database refuses is traced to its line.
 */
#include "cli/publisher.h"

#define COLLECT_BYTES ((size_t)4 * 1024 * 1024)
#define ARENA_BYTES   (COLLECT_BYTES + 3 * PH_PUBLISH_LINE_MAX)

void ph_publisher_init(struct ph_publisher *publisher, const struct ph_database *db)
{
    *publisher = (struct ph_publisher){.db = db};
    ph_arena_init(&publisher->arena, ARENA_BYTES);
}

void ph_publisher_free(struct ph_publisher *publisher)
{
    ph_arena_free(&publisher->arena);
}

static int send_collected(struct ph_publisher *p, struct ph_error *err)
{
    size_t bad = p->count;
    if (p->count == 0) {
        return 0;
    }
    int rc = p->begun ? 0 : p->db->driver->begin(p->db->ctx, err);
    if (rc < 0) {
        return rc;
    }
    p->begun = true;
    rc = p->db->driver->insert(p->db->ctx, p->events, p->count, &bad, err);
    if (rc < 0) {
        p->bad_line = rc == PH_E_DATA && bad < p->count ? p->lines[bad] : 0;
        return rc;
    }
    p->count = 0;
    p->bytes = 0;
    ph_arena_reset(&p->arena, COLLECT_BYTES);
    return 0;
}

static int commit(struct ph_publisher *p, struct ph_error *err)
{
    int rc = send_collected(p, err);
    if (rc < 0 || !p->begun) {
        return rc;
    }
    rc = p->db->driver->commit(p->db->ctx, &p->unknown_outcome, err);
    if (rc < 0) {
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
    if (p->count > 0 && p->bytes + line.len > COLLECT_BYTES) {
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
