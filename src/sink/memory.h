/*
 * The memory sink: a store inside this program, for tests and simulation. A test gets a store by
 * name, a pipeline delivers to the URI memory:NAME, and the test looks at the records and says what
 * goes wrong. Everything here may be called from any thread.
 */
#ifndef PH_SINK_MEMORY_H
#define PH_SINK_MEMORY_H

#include "core/sink.h"

struct ph_memory_store;

/* The store of that name, made when there is none; NULL without memory. It lives as long as
 * somebody has it or delivers to it; each get needs a put, which accepts NULL. */
struct ph_memory_store *ph_memory_store_get(const char *name) PH_MUST_CHECK;
void ph_memory_store_put(struct ph_memory_store *store);

/* A delivered event; its texts live until the store is cleared or gone. */
struct ph_memory_record {
    struct ph_uuid id;
    struct ph_position at;
    struct ph_str topic, key, body; /* ptr NULL: no key, a tombstone */
    const struct ph_header *headers;
    unsigned header_count;
};

/* How many records it holds. */
size_t ph_memory_store_count(struct ph_memory_store *store);
/* The record of that index, in order of delivery; false when there are not so many. */
bool ph_memory_store_record(struct ph_memory_store *store, size_t index,
                            struct ph_memory_record *out);
/* Forgets all records; the checkpoint stays. */
void ph_memory_store_clear(struct ph_memory_store *store);

/* --- its own checkpoint ----------------------------------------------------------------------- */

/* Whether the checkpoint moves with each event delivered, in one step with it. At first not. */
void ph_memory_store_keep_checkpoint(struct ph_memory_store *store, bool keep);
/* Puts cp, or with NULL none, in place of it: 0 or PH_E_NOMEM. */
int ph_memory_store_set_checkpoint(struct ph_memory_store *store, const struct ph_checkpoint *cp);
/* Copies it: 1, 0 when there is none, PH_E_NOMEM. */
int ph_memory_store_checkpoint(struct ph_memory_store *store, struct ph_checkpoint_kept *out);

/* --- what goes wrong -------------------------------------------------------------------------- */

/* After `after` more events the next one gets this verdict instead of being delivered; nothing
 * behind it is delivered before abandon. cause must outlive the store. At most 64 wait. */
void ph_memory_store_refuse(struct ph_memory_store *store, unsigned after, enum ph_verdict verdict,
                            const char *cause);
/* Asks judge about each event; anything but PH_SENT refuses it as above. It is called with the
 * store locked. NULL: no judge. */
typedef enum ph_verdict ph_memory_judge(void *arg, const struct ph_event *event,
                                        const char **cause);
void ph_memory_store_judge(struct ph_memory_store *store, ph_memory_judge *judge, void *arg);
/* After `after` more calls of submit and poll, the next `times` return code (DOWN, fenced, ...);
 * what they were given is kept. times 0 ends it. */
void ph_memory_store_down(struct ph_memory_store *store, unsigned after, unsigned times, int code);
/* Verdicts come only at the polls-th poll after a submit, when the events are long delivered (at
 * the submit): a pipeline that dies between has them delivered again. */
void ph_memory_store_delay(struct ph_memory_store *store, unsigned polls);
/* At most so many verdicts a poll; 0: all. */
void ph_memory_store_pace(struct ph_memory_store *store, size_t verdicts);

extern const struct ph_sink_driver ph_sink_memory;

#endif
