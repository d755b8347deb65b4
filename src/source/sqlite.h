/*
 * Inside the SQLite source: what its files share. sqlite.c opens, keeps the checkpoint and ends
 * with the driver; sqlite_read.c looks and fills batches; sqlite_row.c turns a row into an event;
 * sqlite_lease.c keeps the lease and clears.
 */
#ifndef PH_SOURCE_SQLITE_H
#define PH_SOURCE_SQLITE_H

#include "core/source.h"
#include "db/sqlite.h"

struct ph_sqlite_source_config {
    int64_t poll_min_ms, poll_max_ms; /* between two looks at an idle log */
    int64_t retention_ms;
};

struct ph_sqlite_source {
    const struct ph_source_env *env;
    struct ph_sqlite_source_config config;
    struct ph_sqlite read, book; /* reading; storing checkpoints beside it */
    char log_id[PH_SQLITE_LOG_ID_LEN + 1];
    char start_text[24]; /* the start_snapshot that load and begin return */

    sqlite3_stmt *version, *newest, *page; /* on read */
    int64_t seen_version;                  /* what PRAGMA data_version said at the last look */
    int64_t cursor;                        /* read up to here */
    int64_t durable;                       /* committed, and on disk, up to here */
    int64_t due_us;
    int64_t rest_us; /* present interval between looks */
    bool end_seen;   /* the last look found nothing */
    int64_t busy_us; /* since when another's lock keeps us from reading; 0 = it does not */

    sqlite3_stmt *save; /* on book */
    struct ph_position settle_at;
    int64_t settle_epoch, settle_start;
    bool settle_under_way;
    int64_t settle_us; /* when it was asked for */
};

/* Puts the reader behind a position. */
void ph_sqlite_read_seek(struct ph_sqlite_source *s, int64_t position);
/* The driver's fetch. */
int ph_sqlite_read_fetch(struct ph_sqlite_source *s, struct ph_batch *batch,
                         struct ph_error *err) PH_MUST_CHECK;
/* The greatest position that was ever committed. */
int ph_sqlite_read_last(struct ph_sqlite_source *s, int64_t *ret,
                        struct ph_error *err) PH_MUST_CHECK;

/* The position of the row that stmt (q_read.sql) is at. */
int64_t ph_sqlite_row_position(sqlite3_stmt *stmt);
/* Copies that row into the batch's arena as event; false without room. *flaw says why it is no
 * event that can be delivered (whoever owns the file can make such), or is NULL. */
bool ph_sqlite_row_take(sqlite3_stmt *stmt, struct ph_arena *arena, struct ph_event *event,
                        const char **flaw) PH_MUST_CHECK;

/* The driver's lease calls and maintain; see core/source.h. */
int ph_sqlite_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                         struct ph_error *err);
int ph_sqlite_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                          struct ph_lease_said *said, struct ph_error *err);
int ph_sqlite_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                          const char *last_error, struct ph_lease_said *said, struct ph_error *err);
int ph_sqlite_lease_release(void *ctx, const char *owner, int64_t epoch, struct ph_error *err);
int ph_sqlite_maintain(void *ctx, int64_t limit_ms, struct ph_error *err);
void ph_sqlite_lease_close(void *ctx);

#endif
