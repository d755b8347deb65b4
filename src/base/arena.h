/*
 * Memory that dies together. A batch owns one arena: everything read for it goes in one call.
 * Not thread safe: an arena belongs to one thread at a time.
 */
#ifndef PH_BASE_ARENA_H
#define PH_BASE_ARENA_H

#include <assert.h>
#include <stddef.h>

#include "base/str.h"

/* Under AddressSanitizer, bytes of an arena that are not handed out are poisoned. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PH_ARENA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(PH_ARENA_ASAN)
#include <sanitizer/asan_interface.h>
#define PH_ARENA_POISON(ptr, size)   ASAN_POISON_MEMORY_REGION(ptr, size)
#define PH_ARENA_UNPOISON(ptr, size) ASAN_UNPOISON_MEMORY_REGION(ptr, size)
#else
#define PH_ARENA_POISON(ptr, size)   ((void)(ptr), (void)(size))
#define PH_ARENA_UNPOISON(ptr, size) ((void)(ptr), (void)(size))
#endif

#define PH_ARENA_ALIGN ((size_t)16)

struct ph_arena_chunk;

struct ph_arena {
    struct ph_arena_chunk *chunks; /* all in use; the first has the free room */
    struct ph_arena_chunk *spare;  /* kept by reset for the next use */
    unsigned char *at, *end;       /* free room of the newest chunk */
    size_t used, cap;              /* bytes handed out and the bound on them */
};

/* An arena that hands out at most cap bytes, each request counted in whole steps of 16. Allocates
 * nothing yet. */
void ph_arena_init(struct ph_arena *arena, size_t cap);

/* What ph_arena_alloc does when the newest chunk is full; need is a multiple of 16. */
void *ph__arena_alloc_slow(struct ph_arena *arena, size_t need) PH_MUST_CHECK;

/* 16-byte aligned, not cleared; NULL when over the cap or out of memory. Size 0 gives a pointer. */
PH_MUST_CHECK static inline void *ph_arena_alloc(struct ph_arena *arena, size_t size)
{
    assert(arena);
    size_t left = arena->cap - arena->used;
    if (size > left) {
        return NULL;
    }
    size_t need = ((size ? size : 1) + PH_ARENA_ALIGN - 1) & ~(PH_ARENA_ALIGN - 1);
    if (need > left) {
        return NULL;
    }
    if (need > (size_t)(arena->end - arena->at)) {
        return ph__arena_alloc_slow(arena, need);
    }
    void *ptr = arena->at;
    arena->at += need;
    arena->used += need;
    PH_ARENA_UNPOISON(ptr, size);
    return ptr;
}

/* A copy of the bytes, with a '\0' behind it that len does not count. */
void *ph_arena_copy(struct ph_arena *arena, const void *bytes, size_t len) PH_MUST_CHECK;
/* Everything in the arena is gone. Chunks of standard size stay for the next use, up to keep bytes
 * of them. */
void ph_arena_reset(struct ph_arena *arena, size_t keep);
/* Gives all memory back; the arena may be initialised again. */
void ph_arena_free(struct ph_arena *arena);

#endif
