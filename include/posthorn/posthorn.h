/*
 * libposthorn: publishes events in the caller's own database transaction, so that they are
 * delivered if that transaction commits, and never if it does not.
 *
 * Include posthorn/postgres.h, posthorn/sqlite.h or both; each includes this file and needs no
 * header of a database client. All names begin with posthorn_ or POSTHORN_ (symbols that begin with
 * ph_ are the static library's own).
 *
 * Promises: nothing is begun, committed or rolled back that the caller began; nothing is logged;
 * the process is never ended on account of what it was given; no state is kept between calls;
 * nothing is allocated that the caller would have to free. Calls on different connections may run
 * at the same time; on one connection, one call at a time, as with the connection itself.
 */
#ifndef POSTHORN_POSTHORN_H
#define POSTHORN_POSTHORN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define POSTHORN_API        __attribute__((visibility("default")))
#define POSTHORN_MUST_CHECK __attribute__((warn_unused_result))
#else
#define POSTHORN_API
#define POSTHORN_MUST_CHECK
#endif

/* The version of this header; posthorn_version() is that of the library. */
#define POSTHORN_VERSION "0.1.0"

/* Bounds, in bytes where nothing else is said. What exceeds one is refused with POSTHORN_E_DATA, a
 * batch that is too large with POSTHORN_E_USAGE. */
#define POSTHORN_ID_SIZE     37   /* of an id's text, with its '\0' */
#define POSTHORN_NAME_MAX    8192 /* aggregate_type, aggregate_id, event_type, content_type */
#define POSTHORN_HEADER_MAX  256  /* headers of one event, by number */
#define POSTHORN_HEADERS_MAX (256 * 1024)        /* headers of one event, as JSON */
#define POSTHORN_PAYLOAD_MAX (16 * 1024 * 1024)  /* one payload */
#define POSTHORN_BATCH_MAX   10000               /* events of one batch, by number */
#define POSTHORN_BATCH_BYTES (256 * 1024 * 1024) /* one batch, all its events together */
#define POSTHORN_ERROR_MAX   1024                /* an error's text, with its '\0' */

/* What a call returns: 0, or why it failed and so what can be done about it. */
enum posthorn_status {
    POSTHORN_OK = 0,
    POSTHORN_E_USAGE = -1,       /* the program is wrong: an argument, or no transaction is open */
    POSTHORN_E_DATA = -2,        /* the event is wrong; it fails again as it is */
    POSTHORN_E_UNAVAILABLE = -3, /* roll back, and try the whole transaction again */
    POSTHORN_E_SCHEMA = -4,  /* a person must set the database up: no outbox, or no right to it */
    POSTHORN_E_INTERNAL = -5 /* anything else: a damaged database, an answer out of order */
};

/* Why a call failed; the caller's own, need not be initialised, is written by each call that is
 * given it. text is one sentence in UTF-8, without payloads, keys or passwords; "" after success.
 */
struct posthorn_error {
    int status; /* what the call returned, enum posthorn_status */
    char text[POSTHORN_ERROR_MAX];
};

/* One header; both are UTF-8. name must not be empty, and no event has one twice. value must not be
 * NULL. */
struct posthorn_header {
    const char *name;
    const char *value;
};

/* A flag of struct posthorn_event: events of one aggregate_id are ordered even though nothing else
 * in their transactions locks the aggregate. PostgreSQL: until its end the transaction holds an
 * advisory lock on the key, folded to 4096, for which others that publish the key strictly wait.
 * SQLite: nothing to do, as it has one writer. */
#define POSTHORN_STRICT 1u

/* One event. Zero it, then set what it has; all memory stays the caller's and is only read. Texts
 * are UTF-8 and end with '\0'. */
struct posthorn_event {
    const char *aggregate_type; /* required: "order" */
    const char *aggregate_id;   /* required: "42"; events of one aggregate_id stay in order */
    const char *event_type;     /* required: "OrderPlaced" */
    const void *payload;        /* NULL = a tombstone, with payload_bytes 0 */
    size_t payload_bytes;       /* the payload's length */
    const char *content_type;   /* NULL: the payload is JSON in UTF-8, stored as JSON (PostgreSQL:
                                   jsonb,   which keeps values, not spelling). Else the payload is any
                                   bytes of this   type, stored and delivered as they are; JSON too */
    const struct posthorn_header *headers; /* may be NULL when header_count is 0 */
    size_t header_count;
    const char *id;      /* a UUID that is stable over attempts, or NULL: a random one is made */
    unsigned flags;      /* 0 or POSTHORN_STRICT */
    unsigned reserved_0; /* these must be 0 */
    const void *reserved_1[4];
};

/* The version of the library, "0.1.0". A constant, never NULL. Thread safe. */
POSTHORN_API const char *posthorn_version(void);

/* The name of a status, "UNAVAILABLE"; "UNKNOWN" for what is none. A constant, never NULL. Thread
 * safe. */
POSTHORN_API const char *posthorn_status_name(int status);

#ifdef __cplusplus
}
#endif

#endif
