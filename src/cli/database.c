/*
 * Finds and opens the database of a command.
 * Place: between the commands and outbox/. Promise: a URI that no driver takes is named by its
 * scheme, since the rest may hold a password.
 */
#include "cli/database.h"

int ph_database_find(const char *uri, const struct ph_outbox_driver **ret, struct ph_error *err)
{
    const struct ph_outbox_driver *driver = ph_outbox_find(uri);
    if (driver) {
        *ret = driver;
        return 0;
    }
    struct ph_buf names;
    ph_buf_init(&names, 1024);
    for (size_t i = 0; ph_outbox_drivers[i]; i++) {
        ph_buf_printf(&names, "%s%s", i ? ", " : "", ph_outbox_drivers[i]->name);
    }
    struct ph_str scheme = ph_str_scheme(ph_str_from(uri));
    (void)ph_fail(err, PH_E_CONFIG, "unknown kind of URI \"%.*s\"; expected one of: %s",
                  PH_STR_ARG(scheme), ph_buf_text(&names));
    ph_buf_free(&names);
    return PH_E_CONFIG;
}

int ph_database_open(struct ph_database *db, const char *uri, const char *what,
                     struct ph_error *err)
{
    *db = (struct ph_database){0};
    int rc = ph_database_find(uri, &db->driver, err);
    return rc < 0 ? rc : db->driver->open(uri, what, &db->ctx, err);
}

void ph_database_close(struct ph_database *db)
{
    if (db->driver) {
        db->driver->close(db->ctx);
    }
    *db = (struct ph_database){0};
}
