/* Publishing on a sqlite3 handle. See posthorn/posthorn.h. */
#ifndef POSTHORN_SQLITE_H
#define POSTHORN_SQLITE_H

#include <posthorn/posthorn.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3; /* SQLite's sqlite3 */

/*
 * Publishes one event in the transaction that is open on db, into the outbox of its main database.
 * Returns POSTHORN_OK or a negative enum posthorn_status.
 *   db     the caller's connection, with a transaction open. It waits for SQLite's write lock as
 * its busy timeout says; BEGIN IMMEDIATE takes that lock in front. sqlite3_last_insert_rowid and
 *          sqlite3_changes change.
 *   id_out the event's id, written on success; may be NULL. POSTHORN_ID_SIZE bytes, the caller's
 * own error  what failed; may be NULL A failure leaves the transaction open and without the event,
 * except where the text says that SQLite rolled it back (a full disk, a failed write). Thread safe
 * for different connections.
 */
POSTHORN_API int posthorn_publish_sqlite(struct sqlite3 *db, const struct posthorn_event *event,
                                         char id_out[POSTHORN_ID_SIZE],
                                         struct posthorn_error *error) POSTHORN_MUST_CHECK;

/*
 * Publishes count events, at most POSTHORN_BATCH_MAX, with one prepared statement: all of them or
 * none, positions in the order of the array. Holds the savepoint posthorn_publish inside the
 * transaction meanwhile. ids_out: count ids, written on success; may be NULL. count 0 does nothing.
 * Everything else as posthorn_publish_sqlite.
 */
POSTHORN_API int posthorn_publish_batch_sqlite(struct sqlite3 *db,
                                               const struct posthorn_event *events, size_t count,
                                               char (*ids_out)[POSTHORN_ID_SIZE],
                                               struct posthorn_error *error) POSTHORN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
