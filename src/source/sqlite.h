/*
 * Inside the SQLite source: what its files share. sqlite.c opens, keeps the checkpoint and ends
 * with the driver; sqlite_read.c looks and fills batches; sqlite_row.c turns a row into an event;
 * sqlite_park.c changes the parked rows and sqlite_due.c reads them; sqlite_lease.c keeps the lease
 * and clears.
 */
#ifndef PH_SOURCE_SQLITE_H
#define PH_SOURCE_SQLITE_H

#include "core/source.h"
#include "db/sqlite.h"

struct ph_sqlite_source_config {
    int64_t poll_min_ms, poll_max_ms; /* between two looks at an idle log */
    int64_t retention_ms;
};

enum ph_sqlite_write { PH_SQLITE_NO_WRITE, PH_SQLITE_SETTLE, PH_SQLITE_PARK };

enum { PH_SQLITE_PARK_ACTS = 5 };

/* Changes of parked rows that are under way. */
struct ph_sqlite_park {
    struct ph_buf json; /* until they are stored */
    int64_t epoch;
    bool puts; /* a new row is among them */
    sqlite3_stmt *changes, *newest, *there, *head, *acts[PH_SQLITE_PARK_ACTS];
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
    struct ph_position settle_at, settle_sink_at;
    bool settle_in_sink;
    int64_t settle_epoch, settle_start;
    int64_t epoch;              /* that load claimed the checkpoint for */
    struct ph_sqlite_park park; /* likewise */
    enum ph_sqlite_write under_way;
    int64_t write_us; /* when it was asked for */
};

/* PH_E_FENCED: the checkpoint is a newer instance's. */
int ph_sqlite_refuse_epoch(const struct ph_sqlite_source *s, struct ph_error *err) PH_MUST_CHECK;
/* PH_E_CONFIG for more than one shard. */
int ph_sqlite_check_shards(const struct ph_source_env *env, struct ph_error *err) PH_MUST_CHECK;

/* Puts the reader behind a position. */
void ph_sqlite_read_seek(struct ph_sqlite_source *s, int64_t position);
/* The driver's fetch. */
int ph_sqlite_read_fetch(struct ph_sqlite_source *s, struct ph_batch *batch,
                         struct ph_error *err) PH_MUST_CHECK;
/* The greatest position that was ever committed. */
int ph_sqlite_read_last(struct ph_sqlite_source *s, int64_t *ret,
                        struct ph_error *err) PH_MUST_CHECK;

/* The position of the row that stmt (q_read.sql, q_due.sql) is at. */
int64_t ph_sqlite_row_position(sqlite3_stmt *stmt);
/* Copies that row into the batch's arena as event; false without room. *flaw says why it is no
 * event that can be delivered (whoever owns the file can make such), or is NULL. */
bool ph_sqlite_row_take(sqlite3_stmt *stmt, struct ph_arena *arena, struct ph_event *event,
                        const char **flaw) PH_MUST_CHECK;

/* Makes the statements of park; on book. */
int ph_sqlite_park_prepare(struct ph_sqlite_source *s, struct ph_error *err) PH_MUST_CHECK;
/* Keeps changes for ph_sqlite_park_store. */
int ph_sqlite_park_keep(struct ph_sqlite_source *s, int64_t epoch,
                        const struct ph_park_change *changes, size_t count,
                        struct ph_error *err) PH_MUST_CHECK;
/* Stores them, in one transaction: 1, 0 when a newer epoch refused it. With book.busy: nothing was
 * done. */
int ph_sqlite_park_store(struct ph_sqlite_source *s, struct ph_error *err) PH_MUST_CHECK;
/* The driver's held and due. */
int ph_sqlite_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
                   struct ph_park_totals *ret, struct ph_error *err);
int ph_sqlite_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err);

/* The driver's lease calls and maintain; see core/source.h. */
int ph_sqlite_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                         struct ph_error *err);
int ph_sqlite_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                          struct ph_lease_said *said, struct ph_error *err);
int ph_sqlite_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                          const char *last_error, struct ph_lease_said *said, struct ph_error *err);
int ph_sqlite_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                            struct ph_error *err);
int ph_sqlite_maintain(void *ctx, int64_t limit_ms, struct ph_error *err);
void ph_sqlite_lease_close(void *ctx);

#endif
