/*
 * All source drivers, and which of them a URI means. What has no scheme is PostgreSQL's: a conninfo
 * ("host=... dbname=..."), a service, or nothing at all, since libpq reads PG* variables.
 */
#include "core/source.h"

#include <assert.h>

#include "source/memory.h"

extern const struct ph_source_driver ph_source_postgres;

const struct ph_source_driver *const ph_source_drivers[] = {
    &ph_source_postgres,
    &ph_source_memory,
    NULL,
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The scheme in front of the first ':', ptr NULL when there is none. */
static struct ph_str scheme_of(const char *uri)
{
    size_t len = 0;
    while (is_letter(uri[len]) ||
           (len > 0 && uri[len] != '\0' && strchr("0123456789+-.", uri[len]))) {
        len++;
    }
    return (struct ph_str){len > 0 && uri[len] == ':' ? uri : NULL, len};
}

const struct ph_source_driver *ph_source_find(const char *uri)
{
    assert(uri);
    struct ph_str scheme = scheme_of(uri);
    if (!scheme.ptr || ph_str_is(scheme, "postgresql") || ph_str_is(scheme, "postgres")) {
        return &ph_source_postgres;
    }
    return ph_str_is(scheme, "memory") ? &ph_source_memory : NULL;
}
