/* Puts many events into the outbox: many at a time, one transaction per 1,000 events. */
#ifndef PH_CLI_PUBLISHER_H
#define PH_CLI_PUBLISHER_H

#include "cli/database.h"
#include "cli/ndjson.h"

#define PH_PUBLISH_EVENTS ((size_t)1000)

struct ph_publisher {
    const struct ph_database *db;
    struct ph_arena arena; /* the lines being collected */
    struct ph_outbox_event events[PH_PUBLISH_EVENTS];
    int64_t lines[PH_PUBLISH_EVENTS]; /* where each of them came from */
    size_t count;                     /* collected and not sent */
    size_t bytes;
    size_t transaction_events; /* of the transaction under way, collected ones included */
    bool begun;                /* it has begun in the database */
    int64_t events_committed, transactions_committed;
    int64_t bad_line;     /* after PH_E_DATA: the line at fault, 0 when none could be named */
    bool unknown_outcome; /* the connection was lost at COMMIT */
};

void ph_publisher_init(struct ph_publisher *publisher, const struct ph_database *db);
void ph_publisher_free(struct ph_publisher *publisher);
/* Parses and collects one line; sends and commits when it is time to. After an error nothing of
 * the transaction under way is kept (but see unknown_outcome) and the publisher is of no more use.
 */
int ph_publisher_add(struct ph_publisher *publisher, struct ph_str line, int64_t number,
                     struct ph_error *err) PH_MUST_CHECK;
/* Sends and commits the rest. */
int ph_publisher_finish(struct ph_publisher *publisher, struct ph_error *err) PH_MUST_CHECK;

#endif
