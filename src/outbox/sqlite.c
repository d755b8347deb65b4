/*
 * SQLite as people's commands see it: the connection and the list of what the driver can do.
 * Place: below the commands, above db/sqlite; the queries are sql/sqlite/q_*.sql.
 * Promise: a file without Posthorn's tables is named as such before any statement can fail in a
 * stranger way; no lock is held between two calls but by what begin began.
 */
#include "outbox/sqlite.h"

static void outbox_close(void *ctx)
{
    struct ph_sqlite_outbox *o = ctx;
    if (o) {
        ph_mem_free(o->pipeline);
        ph_sqlite_close(&o->db);
        ph_mem_free(o);
    }
}

static int outbox_open(const char *uri, const char *what, void **ret_ctx, struct ph_error *err)
{
    (void)what;
    struct ph_sqlite_outbox *o = ph_mem_zero(1, sizeof *o);
    if (!o) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    int rc = ph_sqlite_open(&o->db, uri, PH_SQLITE_WRITE, err);
    if (rc == 0) {
        rc = ph_sqlite_check(&o->db, o->log_id, err);
    }
    if (rc < 0) {
        outbox_close(o);
        return rc;
    }
    *ret_ctx = o;
    return 0;
}

extern const struct ph_outbox_driver ph_outbox_sqlite;
const struct ph_outbox_driver ph_outbox_sqlite = {
    .name = "sqlite",
    .init = ph__sqlite_outbox_init,
    .open = outbox_open,
    .close = outbox_close,
    .begin = ph__sqlite_outbox_begin,
    .insert = ph__sqlite_outbox_insert,
    .commit = ph__sqlite_outbox_commit,
    .status = ph__sqlite_outbox_status,
    .verify_begin = ph__sqlite_outbox_verify_begin,
    .verify_page = ph__sqlite_outbox_verify_page,
    .verify_oldest = ph__sqlite_outbox_verify_oldest,
    .verify_lookup = ph__sqlite_outbox_verify_lookup,
    .cleanup = ph__sqlite_outbox_cleanup,
    .forget = ph__sqlite_outbox_forget,
    .erase = ph__sqlite_outbox_erase,
    .parked_list = ph__sqlite_outbox_parked_list,
    .redrive = ph__sqlite_outbox_redrive,
    .discard = ph__sqlite_outbox_discard,
    .pause = ph__sqlite_outbox_pause,
    .adopt = ph__sqlite_outbox_adopt,
    .note = ph__sqlite_outbox_note,
};
