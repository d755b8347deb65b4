/*
 * The hold set: a hash table with linear probing, whose entries are moved back when one goes, so
 * that it needs no tombstones. Promise: a key that was added is found until its last row is taken.
 */
#include "core/hold.h"

#include <assert.h>
#include <string.h>

#include "base/sys.h"

#define FIRST_ROOM 64

/* FNV-1a, and a last mix so that the low bits depend on all bytes. */
static uint64_t hash_of(struct ph_str key)
{
    uint64_t hash = 14695981039346656037U;
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (unsigned char)key.ptr[i]) * 1099511628211U;
    }
    hash ^= hash >> 32;
    return hash * 0x9E3779B97F4A7C15U;
}

static bool is_free(const struct ph_hold_entry *entry)
{
    return entry->rows == 0 && entry->gap == 0;
}

/* Where the hash is, or the free place where it belongs. */
static struct ph_hold_entry *find(const struct ph_hold *hold, uint64_t hash)
{
    size_t at = hash & (hold->room - 1);
    while (!is_free(&hold->entries[at]) && hold->entries[at].hash != hash) {
        at = (at + 1) & (hold->room - 1);
    }
    return &hold->entries[at];
}

static int grow(struct ph_hold *hold, struct ph_error *err)
{
    struct ph_hold bigger = *hold;
    bigger.room = hold->room ? hold->room * 2 : FIRST_ROOM;
    bigger.entries = ph_mem_zero(bigger.room, sizeof *bigger.entries);
    if (!bigger.entries) {
        return ph_fail(err, PH_E_NOMEM, "no memory for %zu waiting keys", bigger.room);
    }
    for (size_t i = 0; i < hold->room; i++) {
        if (!is_free(&hold->entries[i])) {
            *find(&bigger, hold->entries[i].hash) = hold->entries[i];
        }
    }
    ph_mem_free(hold->entries);
    *hold = bigger;
    return 0;
}

/* The entry of a key, with room made for a new one; NULL without memory. */
static struct ph_hold_entry *entry_for(struct ph_hold *hold, uint64_t hash, struct ph_error *err)
{
    if ((hold->used + 1) * 2 > hold->room && grow(hold, err) < 0) {
        return NULL;
    }
    struct ph_hold_entry *entry = find(hold, hash);
    if (is_free(entry)) {
        entry->hash = hash;
        hold->used++;
    }
    return entry;
}

/* Moves what stands behind an entry that became free to where find looks for it. */
static void close_up(struct ph_hold *hold, struct ph_hold_entry *entry)
{
    size_t mask = hold->room - 1, hole = (size_t)(entry - hold->entries);
    for (size_t at = (hole + 1) & mask; !is_free(&hold->entries[at]); at = (at + 1) & mask) {
        size_t home = hold->entries[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            hold->entries[hole] = hold->entries[at];
            hold->entries[at] = (struct ph_hold_entry){0};
            hole = at;
        }
    }
    hold->used--;
}

void ph_hold_free(struct ph_hold *hold)
{
    ph_mem_free(hold->entries);
    ph_mem_free(hold->gaps);
    *hold = (struct ph_hold){0};
}

void ph_hold_clear(struct ph_hold *hold)
{
    if (hold->used > 0) {
        memset(hold->entries, 0, hold->room * sizeof *hold->entries);
    }
    hold->used = 0;
    hold->gap_count = 0;
    hold->gap_free = 0;
}

int ph_hold_add(struct ph_hold *hold, struct ph_str key, uint32_t rows, struct ph_error *err)
{
    if (!key.ptr || rows == 0) {
        return 0;
    }
    struct ph_hold_entry *entry = entry_for(hold, hash_of(key), err);
    if (!entry) {
        return PH_E_NOMEM;
    }
    entry->rows = entry->rows > UINT32_MAX - rows ? UINT32_MAX : entry->rows + rows;
    return 0;
}

void ph_hold_take(struct ph_hold *hold, struct ph_str key)
{
    struct ph_hold_entry *entry = key.ptr && hold->used ? find(hold, hash_of(key)) : NULL;
    if (entry && entry->rows > 0) {
        entry->rows--;
        if (is_free(entry)) {
            close_up(hold, entry);
        }
    }
}

bool ph_hold_has(const struct ph_hold *hold, struct ph_str key)
{
    return key.ptr && hold->used > 0 && find(hold, hash_of(key))->rows > 0;
}

/* --- gaps ------------------------------------------------------------------------------------- */

/* A place for one gap: 1 + its index, or 0 without memory. */
static uint32_t gap_place(struct ph_hold *hold)
{
    if (hold->gap_free > 0) {
        uint32_t place = hold->gap_free;
        hold->gap_free = hold->gaps[place - 1].next;
        return place;
    }
    if (hold->gap_count == hold->gap_room) {
        size_t room = hold->gap_room ? hold->gap_room * 2 : FIRST_ROOM;
        struct ph_hold_gap *gaps = ph_mem_resize(hold->gaps, room * sizeof *gaps);
        if (!gaps) {
            return 0;
        }
        hold->gaps = gaps;
        hold->gap_room = room;
    }
    return (uint32_t)++hold->gap_count;
}

static void give_place(struct ph_hold *hold, uint32_t place)
{
    hold->gaps[place - 1].next = hold->gap_free;
    hold->gap_free = place;
}

/* The link, in the entry or in a gap, to the newest gap of a key that is not behind `at`. */
static uint32_t *gap_link(struct ph_hold *hold, struct ph_hold_entry *entry, struct ph_position at)
{
    uint32_t *link = &entry->gap;
    while (*link && ph_position_cmp(hold->gaps[*link - 1].gap.at, at) > 0) {
        link = &hold->gaps[*link - 1].next;
    }
    return link;
}

int ph_hold_put_gap(struct ph_hold *hold, struct ph_str key, const struct ph_gap *gap,
                    struct ph_error *err)
{
    if (!key.ptr) {
        return 0;
    }
    uint32_t place = gap_place(hold);
    if (place == 0) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a gap");
    }
    struct ph_hold_entry *entry = entry_for(hold, hash_of(key), err);
    if (!entry) {
        give_place(hold, place);
        return PH_E_NOMEM;
    }
    uint32_t *link = gap_link(hold, entry, gap->at);
    bool known = *link && ph_position_cmp(hold->gaps[*link - 1].gap.at, gap->at) == 0;
    if (known) {
        give_place(hold, place);
        return 0;
    }
    hold->gaps[place - 1] = (struct ph_hold_gap){*gap, *link};
    *link = place;
    return 0;
}

bool ph_hold_take_gap(struct ph_hold *hold, struct ph_str key, struct ph_position at,
                      struct ph_gap *ret)
{
    struct ph_hold_entry *entry = key.ptr && hold->used ? find(hold, hash_of(key)) : NULL;
    uint32_t *link = entry ? gap_link(hold, entry, at) : NULL;
    if (!link || *link == 0) {
        return false;
    }
    uint32_t place = *link;
    struct ph_hold_gap *taken = &hold->gaps[place - 1];
    *ret = taken->gap;
    *link = taken->next;
    give_place(hold, place);
    if (is_free(entry)) {
        close_up(hold, entry);
    }
    return true;
}
