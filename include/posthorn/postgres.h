/* Publishing on a PGconn of libpq. See posthorn/posthorn.h. */
#ifndef POSTHORN_POSTGRES_H
#define POSTHORN_POSTGRES_H

#include <posthorn/posthorn.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pg_conn; /* libpq's PGconn */

/*
 * Publishes one event in the transaction that is open on conn. Returns POSTHORN_OK or a negative
 * enum posthorn_status. conn   the caller's connection: a transaction is open, no command under
 * way, no pipeline mode, client_encoding UTF8. It waits for the server's answer as PQexecParams
 * does; statement_timeout and tcp_user_timeout limit that. id_out the event's id, written on
 * success; may be NULL. POSTHORN_ID_SIZE bytes, the caller's own error  what failed; may be NULL
 * POSTHORN_E_USAGE, and a POSTHORN_E_DATA that was found before asking the server, leave the
 * transaction as it was. After every other failure PostgreSQL has aborted it: roll it back (to a
 * savepoint, or whole). Thread safe for different connections.
 */
POSTHORN_API int posthorn_publish_postgres(struct pg_conn *conn, const struct posthorn_event *event,
                                           char id_out[POSTHORN_ID_SIZE],
                                           struct posthorn_error *error) POSTHORN_MUST_CHECK;

/*
 * Publishes count events, at most POSTHORN_BATCH_MAX, with one statement: all of them or none,
 * positions in the order of the array. Strict ones take their locks first, in an order of their
 * own, so that two batches do not wait for each other. ids_out: count ids, written on success; may
 * be NULL. count 0 does nothing. Everything else as posthorn_publish_postgres.
 */
POSTHORN_API int posthorn_publish_batch_postgres(struct pg_conn *conn,
                                                 const struct posthorn_event *events, size_t count,
                                                 char (*ids_out)[POSTHORN_ID_SIZE],
                                                 struct posthorn_error *error) POSTHORN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
