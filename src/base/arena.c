/*
 * Arenas: bump allocation out of 64 KiB chunks. A request that would waste much of a chunk gets one
 * of its own, behind the chunk that has the free room. Promises: no more than the cap is handed
 * out, a failed allocation changes nothing, and everything goes in one call.
 */
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/sys.h"

#define CHUNK_BYTES ((size_t)64 * 1024) /* header included */
#define LARGE_BYTES (CHUNK_BYTES / 4)   /* from here on a request has a chunk of its own */

struct ph_arena_chunk {
    struct ph_arena_chunk *next;
    size_t size; /* all of it, this header included */
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct ph_arena_chunk) % PH_ARENA_ALIGN == 0, "the first byte is aligned");

void ph_arena_init(struct ph_arena *arena, size_t cap)
{
    assert(arena);
    /* Below this bound, rounding a size up to the alignment cannot wrap. */
    *arena = (struct ph_arena){.cap = cap < PTRDIFF_MAX ? cap : PTRDIFF_MAX};
}

static struct ph_arena_chunk *chunk_new(size_t size)
{
    struct ph_arena_chunk *chunk = ph_mem_alloc(size);
    if (chunk) {
        assert((uintptr_t)chunk % PH_ARENA_ALIGN == 0);
        chunk->next = NULL;
        chunk->size = size;
    }
    return chunk;
}

static void chunks_free(struct ph_arena_chunk *chunk)
{
    while (chunk) {
        struct ph_arena_chunk *next = chunk->next;
        ph_mem_free(chunk);
        chunk = next;
    }
}

/* Puts a chunk of its own behind the first, whose free room stays in use. */
static void *alloc_large(struct ph_arena *arena, size_t need)
{
    if (need > SIZE_MAX - sizeof(struct ph_arena_chunk)) {
        return NULL;
    }
    struct ph_arena_chunk *chunk = chunk_new(sizeof *chunk + need);
    if (!chunk) {
        return NULL;
    }
    if (arena->chunks) {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    } else {
        arena->chunks = chunk;
    }
    arena->used += need;
    return chunk + 1;
}

/* Makes a spare or a new chunk the one with the free room. */
static bool add_chunk(struct ph_arena *arena)
{
    struct ph_arena_chunk *chunk = arena->spare;
    if (chunk) {
        arena->spare = chunk->next;
    } else {
        chunk = chunk_new(CHUNK_BYTES);
    }
    if (!chunk) {
        return false;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->at = (unsigned char *)(chunk + 1);
    arena->end = (unsigned char *)chunk + CHUNK_BYTES;
    PH_ARENA_POISON(arena->at, (size_t)(arena->end - arena->at));
    return true;
}

void *ph__arena_alloc_slow(struct ph_arena *arena, size_t need)
{
    assert(arena && need > 0 && need % PH_ARENA_ALIGN == 0);
    assert(need <= arena->cap - arena->used);
    if (need >= LARGE_BYTES) {
        return alloc_large(arena, need);
    }
    if (!add_chunk(arena)) {
        return NULL;
    }
    void *ptr = arena->at;
    arena->at += need;
    arena->used += need;
    PH_ARENA_UNPOISON(ptr, need);
    return ptr;
}

void *ph_arena_copy(struct ph_arena *arena, const void *bytes, size_t len)
{
    assert(bytes || len == 0);
    if (len == SIZE_MAX) {
        return NULL;
    }
    char *copy = ph_arena_alloc(arena, len + 1);
    if (!copy) {
        return NULL;
    }
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    copy[len] = '\0';
    return copy;
}

void ph_arena_reset(struct ph_arena *arena, size_t keep)
{
    assert(arena);
    struct ph_arena_chunk *lists[2] = {arena->chunks, arena->spare};
    ph_arena_init(arena, arena->cap);
    for (size_t i = 0; i < 2; i++) {
        for (struct ph_arena_chunk *chunk = lists[i], *next; chunk; chunk = next) {
            next = chunk->next;
            if (chunk->size != CHUNK_BYTES || keep < CHUNK_BYTES) {
                ph_mem_free(chunk);
                continue;
            }
            keep -= CHUNK_BYTES;
            PH_ARENA_POISON(chunk + 1, CHUNK_BYTES - sizeof *chunk);
            chunk->next = arena->spare;
            arena->spare = chunk;
        }
    }
}

void ph_arena_free(struct ph_arena *arena)
{
    if (!arena) {
        return;
    }
    chunks_free(arena->chunks);
    chunks_free(arena->spare);
    ph_arena_init(arena, arena->cap);
}
