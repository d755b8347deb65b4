/*
 * All outbox drivers, and which of them a URI means: the same words as for sources. What has no
 * scheme is PostgreSQL's, a conninfo or nothing at all.
 */
#include "outbox/outbox.h"

#include <assert.h>

extern const struct ph_outbox_driver ph_outbox_postgres;
extern const struct ph_outbox_driver ph_outbox_sqlite;

const struct ph_outbox_driver *const ph_outbox_drivers[] = {
    &ph_outbox_postgres,
    &ph_outbox_sqlite,
    NULL,
};

const struct ph_outbox_driver *ph_outbox_find(const char *uri)
{
    assert(uri);
    struct ph_str scheme = ph_str_scheme(ph_str_from(uri));
    if (!scheme.ptr || ph_str_is(scheme, "postgres")) {
        return &ph_outbox_postgres;
    }
    for (size_t i = 0; ph_outbox_drivers[i]; i++) {
        if (ph_str_is(scheme, ph_outbox_drivers[i]->name)) {
            return ph_outbox_drivers[i];
        }
    }
    return NULL;
}
