/* The database that a command was given, through the driver of its URI. */
#ifndef PH_CLI_DATABASE_H
#define PH_CLI_DATABASE_H

#include "outbox/outbox.h"

struct ph_database {
    const struct ph_outbox_driver *driver;
    void *ctx;
};

/* The driver of a URI, or PH_E_CONFIG that names those there are. */
int ph_database_find(const char *uri, const struct ph_outbox_driver **ret,
                     struct ph_error *err) PH_MUST_CHECK;
/* Opens it for the command what; PH_E_CONFIG where Posthorn's schema is missing. */
int ph_database_open(struct ph_database *db, const char *uri, const char *what,
                     struct ph_error *err) PH_MUST_CHECK;
/* Closes it; accepts a zeroed one, and one that could not be opened. */
void ph_database_close(struct ph_database *db);

#endif
