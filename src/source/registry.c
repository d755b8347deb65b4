/*
 * All source drivers, and which of them a URI means. What has no scheme is PostgreSQL's: a conninfo
 * ("host=... dbname=..."), a service, or nothing at all, since libpq reads PG* variables.
 */
#include "core/source.h"

#include <assert.h>

#include "source/memory.h"

extern const struct ph_source_driver ph_source_postgres;
extern const struct ph_source_driver ph_source_sqlite;

const struct ph_source_driver *const ph_source_drivers[] = {
    &ph_source_postgres,
    &ph_source_sqlite,
    &ph_source_memory,
    NULL,
};

const struct ph_source_driver *ph_source_find(const char *uri)
{
    assert(uri);
    struct ph_str scheme = ph_str_scheme(ph_str_from(uri));
    if (!scheme.ptr || ph_str_is(scheme, "postgres")) {
        return &ph_source_postgres;
    }
    for (size_t i = 0; ph_source_drivers[i]; i++) {
        if (ph_str_is(scheme, ph_source_drivers[i]->name)) {
            return ph_source_drivers[i];
        }
    }
    return NULL;
}
