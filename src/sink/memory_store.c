/*
 * The store of the memory sink: records in the order of delivery, a checkpoint that may move with
 * them, and what a test asked to go wrong. The driver over it is memory.c.
 * Promise: a record and its checkpoint come in one step, or neither; one lock guards it all.
 */
#include "sink/memory_store.h"

#include <assert.h>

#include "base/sys.h"

#define FIRST_ROOM 64

static struct {
    pthread_mutex_t lock;
    struct ph_memory_store *stores;
} registry = {PTHREAD_MUTEX_INITIALIZER, NULL};

static void lock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_lock(mutex);
    assert(rc == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_unlock(mutex);
    assert(rc == 0);
}

void ph__store_lock(struct ph_memory_store *store)
{
    assert(store);
    lock(&store->lock);
}

void ph__store_unlock(struct ph_memory_store *store)
{
    unlock(&store->lock);
}

/* --- registry --------------------------------------------------------------------------------- */

static struct ph_memory_store *store_new(const char *name)
{
    struct ph_memory_store *store = ph_mem_zero(1, sizeof *store);
    if (!store || !(store->name = ph_mem_strdup(name))) {
        ph_mem_free(store);
        return NULL;
    }
    int rc = pthread_mutex_init(&store->lock, NULL);
    assert(rc == 0);
    return store;
}

static void free_records(struct ph_memory_store *store)
{
    for (size_t i = 0; i < store->count; i++) {
        ph_mem_free(store->blocks[i]);
    }
    store->count = 0;
}

static void store_free(struct ph_memory_store *store)
{
    free_records(store);
    ph_checkpoint_kept_free(&store->checkpoint);
    (void)pthread_mutex_destroy(&store->lock);
    ph_mem_free(store->records);
    ph_mem_free(store->blocks);
    ph_mem_free(store->name);
    ph_mem_free(store);
}

/* The registered store of that name with one more user, or NULL. The registry's lock is held. */
static struct ph_memory_store *registered(const char *name)
{
    struct ph_memory_store *store = registry.stores;
    while (store && strcmp(store->name, name) != 0) {
        store = store->next;
    }
    if (store) {
        store->users++;
    }
    return store;
}

struct ph_memory_store *ph_memory_store_get(const char *name)
{
    assert(name);
    lock(&registry.lock);
    struct ph_memory_store *store = registered(name);
    if (!store && (store = store_new(name))) {
        store->users = 1;
        store->next = registry.stores;
        registry.stores = store;
    }
    unlock(&registry.lock);
    return store;
}

void ph_memory_store_put(struct ph_memory_store *store)
{
    if (!store) {
        return;
    }
    lock(&registry.lock);
    assert(store->users > 0);
    bool last = --store->users == 0;
    for (struct ph_memory_store **at = &registry.stores; last && *at; at = &(*at)->next) {
        if (*at == store) {
            *at = store->next;
            break;
        }
    }
    unlock(&registry.lock);
    if (last) {
        store_free(store);
    }
}

int ph__store_find(const char *uri, struct ph_memory_store **ret, struct ph_error *err)
{
    const char *colon = strchr(uri, ':');
    lock(&registry.lock);
    struct ph_memory_store *store = registered(colon ? colon + 1 : uri);
    unlock(&registry.lock);
    if (!store) {
        return ph_fail(err, PH_E_CONFIG,
                       "%s: no such store; a memory store lives inside the program that made it",
                       uri);
    }
    *ret = store;
    return 0;
}

/* --- records ---------------------------------------------------------------------------------- */

size_t ph_memory_store_count(struct ph_memory_store *store)
{
    ph__store_lock(store);
    size_t count = store->count;
    ph__store_unlock(store);
    return count;
}

bool ph_memory_store_record(struct ph_memory_store *store, size_t index,
                            struct ph_memory_record *out)
{
    assert(out);
    ph__store_lock(store);
    bool found = index < store->count;
    if (found) {
        *out = store->records[index];
    }
    ph__store_unlock(store);
    return found;
}

void ph_memory_store_clear(struct ph_memory_store *store)
{
    ph__store_lock(store);
    free_records(store);
    ph__store_unlock(store);
}

/* Room for one more record. */
static bool make_room(struct ph_memory_store *store)
{
    if (store->count < store->room) {
        return true;
    }
    size_t room = store->room ? store->room * 2 : FIRST_ROOM;
    void *records = ph_mem_resize(store->records, room * sizeof *store->records);
    store->records = records ? records : store->records;
    void *blocks = ph_mem_resize(store->blocks, room * sizeof *store->blocks);
    store->blocks = blocks ? blocks : store->blocks;
    if (!records || !blocks) {
        return false;
    }
    store->room = room;
    return true;
}

/* A copy of s at *at, which moves behind it. */
static struct ph_str put_str(char **at, struct ph_str s)
{
    struct ph_str copy = {s.ptr ? *at : NULL, s.len};
    if (s.len > 0) {
        memcpy(*at, s.ptr, s.len);
        *at += s.len;
    }
    return copy;
}

/* Copies what the record needs into one block; NULL without memory. */
static void *copy_record(const struct ph_event *event, struct ph_memory_record *record)
{
    size_t size = event->header_count * sizeof *event->headers + event->topic.len + event->key.len +
                  event->body.len + 1;
    for (unsigned i = 0; i < event->header_count; i++) {
        size += event->headers[i].name.len + event->headers[i].value.len;
    }
    char *block = ph_mem_alloc(size);
    if (!block) {
        return NULL;
    }
    struct ph_header *headers = (struct ph_header *)(void *)block;
    char *at = block + event->header_count * sizeof *headers;
    for (unsigned i = 0; i < event->header_count; i++) {
        headers[i].name = put_str(&at, event->headers[i].name);
        headers[i].value = put_str(&at, event->headers[i].value);
    }
    *record = (struct ph_memory_record){.id = event->id,
                                        .at = ph_event_at(event),
                                        .topic = put_str(&at, event->topic),
                                        .key = put_str(&at, event->key),
                                        .body = put_str(&at, event->body),
                                        .headers = headers,
                                        .header_count = event->header_count};
    return block;
}

/* The checkpoint behind one event of the batch. */
static struct ph_checkpoint behind(const struct ph_batch *batch, const struct ph_event *event)
{
    struct ph_checkpoint cp = batch->end;
    if (!batch->has_end || event != &batch->events[batch->count - 1]) {
        cp.at = ph_event_at(event);
        cp.snapshot = event->span->snapshot;
        cp.base_snapshot = event->span->base_snapshot;
    }
    return cp;
}

int ph__store_add(struct ph_memory_store *store, const struct ph_batch *batch,
                  const struct ph_event *event, struct ph_error *err)
{
    struct ph_memory_record record;
    void *block = make_room(store) ? copy_record(event, &record) : NULL;
    if (!block) {
        return ph_fail(err, PH_E_NOMEM, "memory sink: no memory");
    }
    if (store->keep_checkpoint && !event->park) {
        struct ph_checkpoint cp = behind(batch, event);
        int rc = ph_checkpoint_keep(&store->checkpoint, &cp, err);
        if (rc < 0) {
            ph_mem_free(block);
            return rc;
        }
    }
    store->records[store->count] = record;
    store->blocks[store->count++] = block;
    return 0;
}

void ph_memory_store_keep_checkpoint(struct ph_memory_store *store, bool keep)
{
    ph__store_lock(store);
    store->keep_checkpoint = keep;
    ph__store_unlock(store);
}

int ph_memory_store_set_checkpoint(struct ph_memory_store *store, const struct ph_checkpoint *cp)
{
    ph__store_lock(store);
    int rc = 0;
    if (cp) {
        rc = ph_checkpoint_keep(&store->checkpoint, cp, NULL);
    } else {
        ph_checkpoint_kept_free(&store->checkpoint);
    }
    ph__store_unlock(store);
    return rc;
}

int ph_memory_store_checkpoint(struct ph_memory_store *store, struct ph_checkpoint_kept *out)
{
    assert(out);
    ph__store_lock(store);
    int rc = store->checkpoint.set;
    if (rc == 1 && ph_checkpoint_keep(out, &store->checkpoint.cp, NULL) < 0) {
        rc = PH_E_NOMEM;
    }
    ph__store_unlock(store);
    return rc;
}

/* --- what goes wrong -------------------------------------------------------------------------- */

void ph_memory_store_refuse(struct ph_memory_store *store, unsigned after, enum ph_verdict verdict,
                            const char *cause)
{
    assert(verdict == PH_RETRY || verdict == PH_REJECT);
    ph__store_lock(store);
    assert(store->refusal_count < PH_MEMORY_REFUSALS_MAX);
    store->refusals[store->refusal_count++] = (struct ph_memory_refusal){after, verdict, cause};
    ph__store_unlock(store);
}

void ph_memory_store_judge(struct ph_memory_store *store, ph_memory_judge *judge, void *arg)
{
    ph__store_lock(store);
    store->judge = judge;
    store->judge_arg = arg;
    ph__store_unlock(store);
}

/* Takes the first refusal that is due out; the others come one event nearer. */
static bool take_refusal(struct ph_memory_store *store, struct ph_memory_refusal *out)
{
    bool found = false;
    size_t kept = 0;
    for (size_t i = 0; i < store->refusal_count; i++) {
        struct ph_memory_refusal refusal = store->refusals[i];
        if (refusal.after == 0 && !found) {
            *out = refusal;
            found = true;
            continue;
        }
        refusal.after -= refusal.after > 0;
        store->refusals[kept++] = refusal;
    }
    store->refusal_count = kept;
    return found;
}

enum ph_verdict ph__store_verdict(struct ph_memory_store *store, const struct ph_event *event,
                                  const char **cause)
{
    struct ph_memory_refusal refusal;
    if (take_refusal(store, &refusal)) {
        *cause = refusal.cause;
        return refusal.verdict;
    }
    *cause = NULL;
    return store->judge ? store->judge(store->judge_arg, event, cause) : PH_SENT;
}

void ph_memory_store_down(struct ph_memory_store *store, unsigned after, unsigned times, int code)
{
    assert(times == 0 || code < 0);
    ph__store_lock(store);
    store->down_after = after;
    store->down_times = times;
    store->down_code = code;
    ph__store_unlock(store);
}

int ph__store_call(struct ph_memory_store *store, struct ph_error *err)
{
    if (store->down_times == 0) {
        return 0;
    }
    if (store->down_after > 0) {
        store->down_after--;
        return 0;
    }
    store->down_times--;
    return ph_fail(err, store->down_code, "memory:%s: a fault that a test asked for", store->name);
}

void ph_memory_store_delay(struct ph_memory_store *store, unsigned polls)
{
    ph__store_lock(store);
    store->delay = polls;
    ph__store_unlock(store);
}

void ph_memory_store_pace(struct ph_memory_store *store, size_t verdicts)
{
    ph__store_lock(store);
    store->pace = verdicts;
    ph__store_unlock(store);
}
