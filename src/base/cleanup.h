/* Cleanup declared where the resource is. Each _free accepts NULL. */
#ifndef PH_BASE_CLEANUP_H
#define PH_BASE_CLEANUP_H

#include <stdio.h>
#include <unistd.h>

#include "base/sys.h"

#define PH_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines ph_cleanup_<name>(T *) that calls free_fn on a pointer variable leaving its scope. */
#define PH_DEFINE_CLEANUP(name, type, free_fn)    \
    static inline void ph_cleanup_##name(type *p) \
    {                                             \
        if (*p) {                                 \
            free_fn(*p);                          \
        }                                         \
    }                                             \
    struct ph_cleanup_##name##_needs_semicolon

static inline void ph_cleanup_mem(void *p)
{
    ph_mem_free(*(void **)p);
}

static inline void ph_cleanup_fd(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

static inline void ph_cleanup_stdio(FILE **f)
{
    if (*f) {
        (void)fclose(*f);
    }
}

#endif
