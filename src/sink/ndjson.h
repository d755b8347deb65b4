/*
 * NDJSON: one event a line, for the sinks that write text. The line and its reading back, and a
 * feed that turns submitted batches into lines and gives their verdicts.
 * A line: {"id","type","aggregateType","aggregateId","position","createdAt","headers","payload"};
 * payload is the JSON as it is, null for a tombstone; one that is not JSON is given by
 * "contentType" and "payloadBase64" instead.
 */
#ifndef PH_SINK_NDJSON_H
#define PH_SINK_NDJSON_H

#include "core/sink.h"

#define PH_NDJSON_LINE_MAX ((size_t)64 << 20) /* with its line end */
#define PH_NDJSON_START    "{\"id\":\""       /* what each line begins with */

/* Appends the line of an event, with its line end. */
void ph_ndjson_put(struct ph_buf *buf, const struct ph_event *event);
/* What verify needs of a line (without its end): id, position, aggregateId as key. Texts are slices
 * of the line or lie in the arena. PH_E_DATA says what is wrong with it. */
int ph_ndjson_record(struct ph_arena *arena, struct ph_str line, struct ph_record *out,
                     struct ph_error *err) PH_MUST_CHECK;

/* --- feed ------------------------------------------------------------------------------------- */

struct ph_feed_batch {
    struct ph_batch *batch;
    uint64_t generation;
};

/* Submitted batches on their way into lines. */
struct ph_feed {
    struct ph_buf lines; /* put and not yet written */
    struct ph_feed_batch *batches;
    size_t count, cap;
    size_t put_batch, put_event; /* what becomes a line next */
    size_t sent_event;           /* of the first batch: what gets its verdict next */
    bool too_large;              /* the event to put next has no place in a line */
    bool stopped;                /* it was rejected: nothing more until forget */
};

int ph_feed_init(struct ph_feed *feed, size_t window_batches, struct ph_error *err) PH_MUST_CHECK;
void ph_feed_free(struct ph_feed *feed);

/* Takes a batch behind those it has. */
void ph_feed_submit(struct ph_feed *feed, struct ph_batch *batch);
/* Whether there are events that no line was put of. */
bool ph_feed_more(struct ph_feed *feed);
/* Puts the next event's line behind lines, which must not hold more than 1 MiB: 1, 0 when there is
 * none, PH_E_NOMEM. */
int ph_feed_put(struct ph_feed *feed, struct ph_error *err) PH_MUST_CHECK;
/* What lines holds is written: empties it. */
void ph_feed_written(struct ph_feed *feed);
/* All lines that were put are where they belong: gives the verdicts. */
void ph_feed_sent(struct ph_feed *feed);
/* Back to the first event without a verdict; lines is emptied. */
void ph_feed_rewind(struct ph_feed *feed);
/* Forgets all batches; lines stays as it is. */
void ph_feed_forget(struct ph_feed *feed);

#endif
