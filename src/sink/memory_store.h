/*
 * Inside the memory sink: the store (memory_store.c) as its driver (memory.c) sees it. What takes a
 * store needs its lock held, unless it says otherwise.
 */
#ifndef PH_SINK_MEMORY_STORE_H
#define PH_SINK_MEMORY_STORE_H

#include <pthread.h>

#include "sink/memory.h"

#define PH_MEMORY_REFUSALS_MAX 64

struct ph_memory_refusal {
    unsigned after;
    enum ph_verdict verdict;
    const char *cause;
};

struct ph_memory_store {
    pthread_mutex_t lock;
    char *name;
    unsigned users;               /* guarded by the registry's lock */
    struct ph_memory_store *next; /* likewise */
    struct ph_memory_record *records;
    void **blocks; /* what the records' texts lie in */
    size_t count, room;
    bool keep_checkpoint;
    uint64_t owner; /* who resumed last; others are fenced */
    struct ph_checkpoint_kept checkpoint;
    struct ph_memory_refusal refusals[PH_MEMORY_REFUSALS_MAX];
    size_t refusal_count;
    ph_memory_judge *judge;
    void *judge_arg;
    unsigned down_after, down_times, delay;
    int down_code;
    size_t pace;
};

void ph__store_lock(struct ph_memory_store *store);
void ph__store_unlock(struct ph_memory_store *store);

/* The store that a URI names, got for the caller; takes no lock of the store. PH_E_CONFIG when no
 * test has made it. */
int ph__store_find(const char *uri, struct ph_memory_store **ret, struct ph_error *err);

/* What becomes of the next event. */
enum ph_verdict ph__store_verdict(struct ph_memory_store *store, const struct ph_event *event,
                                  const char **cause);
/* Adds a record of the event, and moves the checkpoint if asked to. */
int ph__store_add(struct ph_memory_store *store, const struct ph_batch *batch,
                  const struct ph_event *event, struct ph_error *err);
/* Counts a call; fails when a test asked for it. */
int ph__store_call(struct ph_memory_store *store, struct ph_error *err);

#endif
