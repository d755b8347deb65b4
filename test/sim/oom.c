/*
 * Memory of the simulation: counts what is not given back, and lets the n-th request of an instance
 * fail. What the world itself asks for never fails.
 */
#include <stdlib.h>

#include "base/sys.h"
#include "world.h"

static struct {
    long live;
    uint64_t asked, from, until, hits; /* requests of instances; those in [from, until) fail */
} memory;

static bool refuses(void)
{
    if (!world_is_failing()) {
        return false;
    }
    uint64_t number = memory.asked++;
    bool refused = number >= memory.from && number < memory.until;
    memory.hits += refused;
    return refused;
}

static void *take(size_t size)
{
    void *ptr = refuses() ? NULL : malloc(size);
    memory.live += ptr != NULL;
    return ptr;
}

static void *resize(void *ptr, size_t size)
{
    if (refuses()) {
        return NULL;
    }
    memory.live += ptr == NULL;
    return realloc(ptr, size);
}

static void give_back(void *ptr)
{
    memory.live--;
    free(ptr);
}

void oom_begin(uint64_t from, uint64_t count)
{
    ph_sys.alloc = take;
    ph_sys.resize = resize;
    ph_sys.release = give_back;
    memory.asked = memory.hits = 0;
    memory.from = from;
    memory.until = from + count;
}

uint64_t oom_hits(void)
{
    return memory.hits;
}

uint64_t oom_asked(void)
{
    return memory.asked;
}

long oom_live(void)
{
    return memory.live;
}
