/*
 * The comparing engine of `posthorn verify`.
 * Place: between the reader of the log (verify_log.c) and a sink's scan.
 * Promise: missing, duplicated, out of order and phantom are counted exactly; memory is bounded by
 * the events of one part, the keys of one part, and one bit per record.
 *
 * First pass, by id: which records are deliveries of which event, and which of them the first.
 * Second pass, by key: do the first deliveries of a key and lane rise?
 */
#include "cli/verify_compare.h"

#include <assert.h>
#include <stdlib.h>

#include "base/sys.h"
#include "cli/verify_spool.h"

#define PART_BYTES     ((int64_t)8 * 1024 * 1024)
#define PARTITIONS_MIN 16

struct log_item {
    struct ph_uuid id;
    int64_t position;
};

struct id_item {
    struct ph_uuid id;
    struct ph_position at;
    int64_t number; /* of the record in the scan */
};

struct key_item {
    uint64_t key, lane;
    struct ph_uuid id;
    struct ph_position at;
    int64_t number;
};

/* An event of the part under comparison. */
struct entry {
    struct ph_uuid id;
    int64_t position;
    int64_t seen; /* deliveries */
};

/* The last of a key and lane; free when used is false. */
struct last {
    uint64_t key, lane;
    struct ph_position at;
    bool used;
};

struct ph_compare {
    size_t partitions;
    struct ph_spool *log, *by_id, *by_key;
    struct ph_compare_result result;
    struct ph_compare_lookup lookup;

    unsigned char *first; /* a bit per record: the first delivery of a settled event */

    struct entry *entries; /* of the part under comparison, sorted */
    size_t entry_count;

    struct last *lasts;
    size_t last_size, last_count;

    struct ph_finding unknown[PH_COMPARE_LOOKUP_MAX];
    size_t unknown_count;
};

int ph_compare_new(int64_t events_estimate, struct ph_compare **ret, struct ph_error *err)
{
    struct ph_compare *c = ph_mem_zero(1, sizeof *c);
    if (!c) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    int64_t parts = events_estimate / (PART_BYTES / (int64_t)sizeof(struct entry)) + 1;
    c->partitions = parts < PARTITIONS_MIN ? PARTITIONS_MIN : (size_t)parts;
    if (c->partitions > PH_SPOOL_PARTITIONS_MAX) {
        c->partitions = PH_SPOOL_PARTITIONS_MAX;
    }
    int rc = ph_spool_new(c->partitions, sizeof(struct log_item), &c->log, err);
    if (rc == 0) {
        rc = ph_spool_new(c->partitions, sizeof(struct id_item), &c->by_id, err);
    }
    if (rc == 0) {
        rc = ph_spool_new(c->partitions, sizeof(struct key_item), &c->by_key, err);
    }
    if (rc < 0) {
        ph_compare_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void ph_compare_free(struct ph_compare *compare)
{
    if (!compare) {
        return;
    }
    ph_spool_free(compare->log);
    ph_spool_free(compare->by_id);
    ph_spool_free(compare->by_key);
    ph_mem_free(compare->first);
    ph_mem_free(compare->entries);
    ph_mem_free(compare->lasts);
    ph_mem_free(compare);
}

static size_t part_of(const struct ph_compare *c, uint64_t hash)
{
    return (size_t)((hash >> 32) % c->partitions);
}

static size_t part_of_id(const struct ph_compare *c, const struct ph_uuid *id)
{
    return part_of(c, ph_str_hash((struct ph_str){(const char *)id->bytes, sizeof id->bytes}));
}

static void find(struct ph_compare *c, enum ph_fault fault, const struct ph_uuid *id,
                 struct ph_position at)
{
    c->result.faults[fault]++;
    size_t n = c->result.finding_count[fault];
    if (n < PH_COMPARE_FINDINGS_MAX) {
        c->result.findings[fault][n] = (struct ph_finding){*id, at};
        c->result.finding_count[fault]++;
    }
}

/* --- taking in ---------------------------------------------------------------------------------
 */

int ph_compare_event(struct ph_compare *c, const struct ph_uuid *id, int64_t position,
                     struct ph_error *err)
{
    struct log_item item = {*id, position};
    c->result.events++;
    return ph_spool_put(c->log, part_of_id(c, id), &item, err);
}

int ph_compare_record(struct ph_compare *c, const struct ph_record *record, struct ph_error *err)
{
    int64_t number = c->result.records++;
    struct id_item item = {record->id, record->at, number};
    int rc = ph_spool_put(c->by_id, part_of_id(c, &record->id), &item, err);
    if (rc < 0 || !record->key.ptr || record->late) {
        return rc;
    }
    uint64_t key = ph_str_hash(record->key);
    struct key_item by_key = {key, record->lane, record->id, record->at, number};
    return ph_spool_put(c->by_key, part_of(c, key), &by_key, err);
}

/* --- first pass: by id -------------------------------------------------------------------------
 */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = memcmp(x->id.bytes, y->id.bytes, sizeof x->id.bytes);
    return order ? order : (x->position > y->position) - (x->position < y->position);
}

static int load_entries(struct ph_compare *c, size_t part, struct ph_error *err)
{
    size_t count = ph_spool_count(c->log, part);
    ph_mem_free(c->entries);
    c->entries = ph_mem_zero(count ? count : 1, sizeof *c->entries);
    c->entry_count = 0;
    if (!c->entries) {
        return ph_fail(err, PH_E_NOMEM, "out of memory for %zu events", count);
    }
    struct log_item item;
    int more;
    ph_spool_rewind(c->log, part);
    while ((more = ph_spool_next(c->log, &item, err)) == 1) {
        c->entries[c->entry_count++] = (struct entry){item.id, item.position, 0};
    }
    qsort(c->entries, c->entry_count, sizeof *c->entries, compare_entries);
    return more;
}

/* The entry with this id and position; else the first with this id; else NULL. */
static struct entry *find_entry(struct ph_compare *c, const struct ph_uuid *id, int64_t position)
{
    struct entry wanted = {*id, position, 0};
    size_t low = 0, high = c->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_entries(&c->entries[middle], &wanted) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    /* low is the first that is not before the wanted one; those of the id lie around it. */
    if (low < c->entry_count && memcmp(&c->entries[low].id, id, sizeof *id) == 0) {
        return &c->entries[low];
    }
    if (low > 0 && memcmp(&c->entries[low - 1].id, id, sizeof *id) == 0) {
        return &c->entries[low - 1];
    }
    return NULL;
}

static void mark_first(struct ph_compare *c, int64_t number)
{
    c->first[number / 8] = (unsigned char)(c->first[number / 8] | 1U << (number % 8));
}

static bool is_first(const struct ph_compare *c, int64_t number)
{
    return c->first[number / 8] & 1U << (number % 8);
}

static int ask_unknown(struct ph_compare *c, struct ph_error *err)
{
    enum ph_origin origins[PH_COMPARE_LOOKUP_MAX];
    if (c->unknown_count == 0) {
        return 0;
    }
    int rc = c->lookup.ask(c->lookup.arg, c->unknown, c->unknown_count, origins, err);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < c->unknown_count; i++) {
        if (origins[i] == PH_ORIGIN_GONE) {
            c->result.beyond_log++;
        } else if (origins[i] == PH_ORIGIN_NONE) {
            find(c, PH_FAULT_PHANTOM, &c->unknown[i].id, c->unknown[i].at);
        }
    }
    c->unknown_count = 0;
    return 0;
}

static int judge_record(struct ph_compare *c, const struct id_item *item, struct ph_error *err)
{
    struct entry *entry = find_entry(c, &item->id, item->at.position);
    if (!entry) {
        c->unknown[c->unknown_count++] = (struct ph_finding){item->id, item->at};
        return c->unknown_count == PH_COMPARE_LOOKUP_MAX ? ask_unknown(c, err) : 0;
    }
    entry->seen++;
    if (entry->position != item->at.position) {
        find(c, PH_FAULT_OUT_OF_ORDER, &item->id, item->at);
    } else if (entry->seen == 1) {
        mark_first(c, item->number);
    }
    if (entry->seen == 2) {
        find(c, PH_FAULT_DUPLICATED, &item->id, item->at);
    }
    return 0;
}

static int compare_part(struct ph_compare *c, size_t part, struct ph_error *err)
{
    int rc = load_entries(c, part, err);
    if (rc < 0) {
        return rc;
    }
    struct id_item item;
    int more;
    ph_spool_rewind(c->by_id, part);
    while ((more = ph_spool_next(c->by_id, &item, err)) == 1) {
        rc = judge_record(c, &item, err);
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; more == 0 && i < c->entry_count; i++) {
        if (c->entries[i].seen == 0) {
            struct ph_position at = {0, c->entries[i].position};
            find(c, PH_FAULT_MISSING, &c->entries[i].id, at);
        }
    }
    return more;
}

/* --- second pass: by key -----------------------------------------------------------------------
 */

/* The slot of a key and lane: theirs, or a free one. */
static struct last *find_last(struct last *lasts, size_t size, uint64_t key, uint64_t lane)
{
    assert(size > 0);
    size_t at = (size_t)(key ^ lane * UINT64_C(0x9e3779b97f4a7c15)) % size;
    while (lasts[at].used && (lasts[at].key != key || lasts[at].lane != lane)) {
        at = (at + 1) % size;
    }
    return &lasts[at];
}

static int grow_lasts(struct ph_compare *c, struct ph_error *err)
{
    size_t size = c->last_size ? c->last_size * 2 : 1024;
    struct last *grown = ph_mem_zero(size, sizeof *grown);
    if (!grown) {
        return ph_fail(err, PH_E_NOMEM, "out of memory for %zu keys", size);
    }
    for (size_t i = 0; i < c->last_size; i++) {
        if (c->lasts[i].used) {
            *find_last(grown, size, c->lasts[i].key, c->lasts[i].lane) = c->lasts[i];
        }
    }
    ph_mem_free(c->lasts);
    c->lasts = grown;
    c->last_size = size;
    return 0;
}

static int judge_order(struct ph_compare *c, const struct key_item *item, struct ph_error *err)
{
    if (c->last_count * 2 >= c->last_size) {
        int rc = grow_lasts(c, err);
        if (rc < 0) {
            return rc;
        }
    }
    struct last *last = find_last(c->lasts, c->last_size, item->key, item->lane);
    if (!last->used) {
        *last = (struct last){item->key, item->lane, item->at, true};
        c->last_count++;
    } else if (ph_position_cmp(item->at, last->at) > 0) {
        last->at = item->at;
    } else {
        find(c, PH_FAULT_OUT_OF_ORDER, &item->id, item->at);
    }
    return 0;
}

static int order_part(struct ph_compare *c, size_t part, struct ph_error *err)
{
    for (size_t i = 0; i < c->last_size; i++) {
        c->lasts[i].used = false;
    }
    c->last_count = 0;
    struct key_item item;
    int more;
    ph_spool_rewind(c->by_key, part);
    while ((more = ph_spool_next(c->by_key, &item, err)) == 1) {
        int rc = is_first(c, item.number) ? judge_order(c, &item, err) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    return more;
}

/* --- both --------------------------------------------------------------------------------------
 */

int ph_compare_finish(struct ph_compare *c, const struct ph_compare_lookup *lookup,
                      struct ph_compare_result *ret, struct ph_error *err)
{
    assert(!c->first);
    c->lookup = *lookup;
    c->first = ph_mem_zero((size_t)c->result.records / 8 + 1, 1);
    if (!c->first) {
        return ph_fail(err, PH_E_NOMEM, "out of memory for %lld records",
                       (long long)c->result.records);
    }
    int rc = 0;
    for (size_t part = 0; rc == 0 && part < c->partitions; part++) {
        rc = compare_part(c, part, err);
    }
    if (rc == 0) {
        rc = ask_unknown(c, err);
    }
    for (size_t part = 0; rc == 0 && part < c->partitions; part++) {
        rc = order_part(c, part, err);
    }
    if (rc == 0) {
        *ret = c->result;
    }
    return rc;
}
