/*
 * An SQLite database for one thread: open, statements with parameters, one busy wait with a time
 * limit, and the sync that makes what was read last; every failure is classed.
 *
 * URIs are sqlite:PATH and sqlite:///absolute/path. A path is taken as it is: no percent signs, no
 * query. Nothing in it is secret.
 */
#ifndef PH_DB_SQLITE_H
#define PH_DB_SQLITE_H

#include <sqlite3.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

/* The version of the schema that this program knows: that of the newest sql/sqlite/NNNN_*.sql. */
#define PH_SQLITE_SCHEMA_VERSION 3

#define PH_SQLITE_LOG_ID_LEN     36
#define PH_SQLITE_BOOT_ID_SIZE   40

enum ph_sqlite_mode {
    PH_SQLITE_READ,  /* no statement of it may write, but the file must be writable: WAL needs it */
    PH_SQLITE_WRITE, /* reads and writes */
    PH_SQLITE_CREATE, /* the same, and a missing file is made */
};

struct ph_sqlite {
    sqlite3 *conn;
    char *path;
    const char *name;    /* the path as it was given, for messages */
    int64_t busy_ms;     /* how long a statement waits for another's lock */
    int64_t deadline_us; /* internal: the end of that wait */
    bool busy;           /* the last failure was that another's lock stayed for busy_ms */
    bool synced;         /* internal: the database file was synced, when the WAL had salts */
    uint32_t salts[2];
};

/* A parameter of a statement; text with ptr NULL is SQL NULL. Texts must live until the statement
 * was stepped for the last time. */
struct ph_sqlite_param {
    enum { PH_SQLITE_I64, PH_SQLITE_TEXT } kind;
    int64_t i64;
    struct ph_str text;
};

static inline struct ph_sqlite_param ph_sqlite_i64(int64_t value)
{
    return (struct ph_sqlite_param){PH_SQLITE_I64, value, {NULL, 0}};
}
static inline struct ph_sqlite_param ph_sqlite_str(struct ph_str text)
{
    return (struct ph_sqlite_param){PH_SQLITE_TEXT, 0, text};
}
static inline struct ph_sqlite_param ph_sqlite_text(const char *text)
{
    return ph_sqlite_str(ph_str_from(text));
}

/* The path of a URI; PH_E_CONFIG for one that names no file. */
int ph_sqlite_path(const char *uri, struct ph_str *ret, struct ph_error *err) PH_MUST_CHECK;

/* Opens the file. PH_E_CONFIG for what cannot work: a missing file, a directory, another format,
 * texts in UTF-16, a file or folder that may not be written. db is valid after success only. */
int ph_sqlite_open(struct ph_sqlite *db, const char *uri, enum ph_sqlite_mode mode,
                   struct ph_error *err) PH_MUST_CHECK;
/* Closes it, with a rollback of what was begun; accepts a zeroed one. */
void ph_sqlite_close(struct ph_sqlite *db);

/* PH_E_CONFIG unless the database is in WAL mode and has a schema that this program knows. log_id
 * gets the identity of the log. */
int ph_sqlite_check(struct ph_sqlite *db, char log_id[PH_SQLITE_LOG_ID_LEN + 1],
                    struct ph_error *err) PH_MUST_CHECK;

/* Names the machine's present boot; empty when the system does not say. */
void ph_sqlite_boot_id(char out[PH_SQLITE_BOOT_ID_SIZE]);

/* Statements without parameters and rows, separated by ';'. */
int ph_sqlite_script(struct ph_sqlite *db, const char *sql, struct ph_error *err) PH_MUST_CHECK;
/* A statement for many uses; ends with ph_sqlite_close at the latest. */
int ph_sqlite_prepare(struct ph_sqlite *db, const char *sql, sqlite3_stmt **ret,
                      struct ph_error *err) PH_MUST_CHECK;
/* Begins it anew with these parameters. */
int ph_sqlite_bind(struct ph_sqlite *db, sqlite3_stmt *stmt, const struct ph_sqlite_param *params,
                   size_t count, struct ph_error *err) PH_MUST_CHECK;
/* 1 = a row, 0 = done; after 0 or an error no lock is held by the statement. */
int ph_sqlite_step(struct ph_sqlite *db, sqlite3_stmt *stmt, struct ph_error *err) PH_MUST_CHECK;
/* prepare, bind and the first step in one: as ph_sqlite_step. The caller finalises *ret, which is
 * NULL after an error. */
int ph_sqlite_query(struct ph_sqlite *db, const char *sql, const struct ph_sqlite_param *params,
                    size_t count, sqlite3_stmt **ret, struct ph_error *err) PH_MUST_CHECK;
/* The same for a statement without rows. The number of rows it changed. */
int ph_sqlite_run(struct ph_sqlite *db, const char *sql, const struct ph_sqlite_param *params,
                  size_t count, struct ph_error *err) PH_MUST_CHECK;

/* Whether another file lies at the path by now. */
bool ph_sqlite_moved(struct ph_sqlite *db);
/* Makes everything that this connection has read so far last through a crash of the machine. */
int ph_sqlite_sync(struct ph_sqlite *db, struct ph_error *err) PH_MUST_CHECK;

/* A column as it is stored; ptr NULL for SQL NULL. Valid until the next step. */
static inline struct ph_str ph_sqlite_column(sqlite3_stmt *stmt, int column)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL) {
        return (struct ph_str){NULL, 0};
    }
    const char *bytes = sqlite3_column_blob(stmt, column); /* NULL when it is empty */
    return (struct ph_str){bytes ? bytes : "", (size_t)sqlite3_column_bytes(stmt, column)};
}

PH_DEFINE_CLEANUP(sqlite_stmt, sqlite3_stmt *, (void)sqlite3_finalize);

#endif
