/*
 * What every unit test includes first: cmocka with what it needs before it, and memory that can be
 * made to fail at the n-th allocation.
 */
#ifndef PH_TEST_UNIT_H
#define PH_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "base/sys.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct {
    struct ph_sys real;
    long until_failure; /* allocations that still succeed; negative: all of them */
    long live;          /* blocks not given back */
    long calls;         /* allocations asked for */
} unit_memory;

static inline bool unit_memory_refuses(void)
{
    unit_memory.calls++;
    if (unit_memory.until_failure == 0) {
        return true;
    }
    unit_memory.until_failure -= unit_memory.until_failure > 0;
    return false;
}

static inline void *unit_alloc(size_t size)
{
    void *ptr = unit_memory_refuses() ? NULL : malloc(size);
    unit_memory.live += ptr != NULL;
    return ptr;
}

static inline void *unit_resize(void *ptr, size_t size)
{
    if (unit_memory_refuses()) {
        return NULL;
    }
    unit_memory.live += ptr == NULL;
    return realloc(ptr, size);
}

static inline void unit_release(void *ptr)
{
    unit_memory.live--;
    free(ptr);
}

/* From now on ok allocations succeed and then all fail (negative: none does). */
static inline void unit_memory_fail_after(long ok)
{
    if (!unit_memory.real.alloc) {
        unit_memory.real = ph_sys;
    }
    unit_memory.until_failure = ok;
    unit_memory.calls = 0;
    ph_sys.alloc = unit_alloc;
    ph_sys.resize = unit_resize;
    ph_sys.release = unit_release;
}

/* A cmocka setup that counts blocks, and the teardown that fails when one was not given back. */
static inline int unit_memory_watch(void **state)
{
    (void)state;
    unit_memory.live = 0;
    unit_memory_fail_after(-1);
    return 0;
}

static inline int unit_memory_restore(void **state)
{
    (void)state;
    ph_sys = unit_memory.real;
    return unit_memory.live == 0 ? 0 : -1;
}

static inline void assert_str(struct ph_str s, const char *expected)
{
    assert_non_null(s.ptr);
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.ptr, expected, s.len);
}

#endif
