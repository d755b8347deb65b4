/*
 * Inside the PostgreSQL source: what its files share. postgres.c opens, checks identity and keeps
 * the checkpoint; postgres_read.c finds ticks and reads between them; postgres_row.c decodes rows;
 * postgres_lease.c keeps the lease.
 */
#ifndef PH_SOURCE_POSTGRES_H
#define PH_SOURCE_POSTGRES_H

#include "core/source.h"
#include "db/pg_schema.h"
#include "db/pg_snapshot.h"
#include "db/postgres.h"

#define PH_PG_TICKS_MAX 256 /* ticks known ahead of the reader */

struct ph_pg_source_config {
    int64_t poll_min_ms, poll_max_ms; /* between two looks at an idle log */
    int64_t tick_min_ms;              /* between two ticks of ours */
    int64_t
        tick_idle_ms; /* a tick without an event, so that an idle reader holds no retention back */
    int64_t retention_ms;
};

extern const struct ph_option ph_pg_source_options[];

struct ph_pg_tick {
    int64_t tick;
    struct ph_str text;
    struct ph_pg_snapshot snapshot;
};

/* What the read connection is asked at present. */
enum ph_pg_state {
    PH_PG_REST,    /* nothing; ask again at due_us */
    PH_PG_PROBE,   /* has anything changed? */
    PH_PG_PENDING, /* is a row visible behind the last tick? */
    PH_PG_TICKS,   /* which ticks are there? */
    PH_PG_TICK,    /* make one */
    PH_PG_GROUP,   /* rows of several small ticks */
    PH_PG_BOUNDS,  /* least and greatest position of a large tick */
    PH_PG_PAGE,    /* rows of a large tick, in order */
};

/* One row of COPY, not decoded yet. */
struct ph_pg_row {
    uint32_t tick_index; /* in the group */
    uint32_t len;
    int64_t position;
    uint64_t xid;
    const char *bytes;
};

/* What the book connection is asked at present. */
enum ph_pg_book { PH_PG_BOOK_NOTHING, PH_PG_BOOK_SETTLE, PH_PG_BOOK_PARK, PH_PG_BOOK_DUE };

struct ph_pg_source {
    const struct ph_source_env *env;
    struct ph_pg_source_config config;
    struct ph_pg read, book; /* reading; storing checkpoints beside it */
    int timeline;
    char log[64];         /* names it: SYSTEM:DATABASE:INSTALLED */
    int64_t epoch;        /* that load was given */
    struct ph_buf sql;    /* the statement being put together */
    struct ph_arena text; /* texts that load and begin return */
    enum ph_pg_book asked_of_book;

    enum ph_pg_state state;
    PGresult *answer;         /* the last result with rows of the statement under way */
    int64_t asked_us;         /* when it was sent, or when something last arrived for it */
    bool in_copy, copy_begun; /* rows are arriving; the header before the first has been seen */
    int64_t due_us;
    int64_t rest_us;      /* present interval between looks */
    int64_t last_tick_us; /* when we last learned of a tick */
    bool want_tick;       /* a row waits for the next tick */
    bool end_seen;        /* the last look found nothing */

    /* ticks[head..count) are not read yet; prev is the one before them. All lie in
     * ticks_arena[ticks_side]. */
    struct ph_arena ticks_arena[2];
    int ticks_side;
    struct ph_pg_tick prev;
    struct ph_pg_tick ticks[PH_PG_TICKS_MAX];
    size_t ticks_head, ticks_count;
    int64_t after;              /* in the first tick only rows behind this position are wanted */
    struct ph_pg_snapshot seen; /* everything in it is either in a known tick or was no event */
    struct ph_buf seen_text;    /* the snapshot of the last probe */
    struct ph_arena now_arena;  /* its list, while it is compared */
    bool ticks_listed;          /* the ticks were just asked for and there were none */
    struct ph_arena seen_arena[2];
    int seen_side;

    size_t group;           /* ticks in the statement under way, or read last */
    size_t group_next;      /* how many to try next */
    int64_t page_last;      /* greatest position of the large tick; 0 = it is not known yet */
    int64_t limit;          /* rows asked for */
    int64_t row_bytes;      /* what a row took of late, for the next limit */
    bool overflow;          /* the group has more than a batch can hold */
    struct ph_pg_row *rows; /* room for batch_events + 1 */
    size_t row_count;
    size_t rows_bytes;
};

/* Puts the reader behind cp. */
int ph_pg_read_seek(struct ph_pg_source *s, const struct ph_checkpoint *cp,
                    struct ph_error *err) PH_MUST_CHECK;
/* The driver's fetch. */
int ph_pg_read_fetch(struct ph_pg_source *s, struct ph_batch *batch,
                     struct ph_error *err) PH_MUST_CHECK;

/* Position and transaction of a raw row; false when it is not a row of ours. */
bool ph_pg_row_peek(const char *bytes, size_t len, uint64_t *xid, int64_t *position) PH_MUST_CHECK;
/* Decodes a row (in the batch's arena) into event. PH_E_DATA when it is malformed. *flaw says why a
 * well-formed row is no event that can be delivered (an owner can insert such), or is NULL. */
int ph_pg_row_decode(const char *bytes, size_t len, struct ph_event *event, const char **flaw,
                     struct ph_error *err) PH_MUST_CHECK;
/* Strips the header that precedes the first row of a binary COPY: the bytes left, or -1. */
int ph_pg_row_skip_header(const char **bytes, size_t *len);

/* The driver's calls about parked rows, in postgres_park.c; see core/source.h. */
int ph_pg_held(void *ctx, int (*each)(void *arg, const struct ph_held *held), void *arg,
               struct ph_park_totals *ret, struct ph_error *err);
int ph_pg_park(void *ctx, int64_t epoch, const struct ph_park_change *changes, size_t count,
               struct ph_error *err);
int ph_pg_due(void *ctx, struct ph_batch *batch, struct ph_due *ret, struct ph_error *err);

/* The driver's lease calls and maintain; see core/source.h. */
int ph_pg_lease_open(const struct ph_source_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err);
int ph_pg_lease_claim(void *ctx, const char *owner, int64_t lease_ms, int64_t *ret_epoch,
                      struct ph_lease_said *said, struct ph_error *err);
int ph_pg_lease_renew(void *ctx, const char *owner, int64_t epoch, int64_t lease_ms,
                      const char *last_error, struct ph_lease_said *said, struct ph_error *err);
int ph_pg_lease_release(void *ctx, const char *owner, int64_t epoch, bool in_order,
                        struct ph_error *err);
int ph_pg_maintain(void *ctx, int64_t limit_ms, struct ph_error *err);
void ph_pg_lease_close(void *ctx);

#endif
