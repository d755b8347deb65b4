/* What the files of the PostgreSQL driver share. */
#ifndef PH_OUTBOX_POSTGRES_H
#define PH_OUTBOX_POSTGRES_H

#include "db/postgres.h"
#include "outbox/outbox.h"

struct ph_pg_outbox {
    struct ph_pg pg;
    bool sent;            /* the transaction under way has a statement that must stay */
    char *pipeline;       /* verify: whose checkpoint */
    PGresult *checkpoint; /* and its texts, which bound what is settled */
};

/* One query in a read-only transaction of its own, without JIT, whose compiling costs more than our
 * queries do. As ph_pg_query. */
int ph__pg_outbox_read(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                       PGresult **ret, struct ph_error *err) PH_MUST_CHECK;

/* One query in a transaction of its own that may write. As ph_pg_query; what a function of the
 * schema refuses for a person's sake is PH_E_CONFIG. */
int ph__pg_outbox_write(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                        PGresult **ret, struct ph_error *err) PH_MUST_CHECK;

/* Makes what a function of the schema refuses for a person's sake (object_in_use,
 * object_not_in_prerequisite_state) PH_E_CONFIG; any other rc stays. */
int ph__pg_outbox_refused(int rc, struct ph_error *err);

/* The calls of the driver, see outbox.h. */
int ph__pg_outbox_init(const char *uri, const struct ph_outbox_init *how, struct ph_buf *said,
                       struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_begin(void *ctx, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_insert(void *ctx, const struct ph_outbox_event *events, size_t count, size_t *bad,
                         struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_commit(void *ctx, bool *unknown, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_status(void *ctx, const char *pipeline,
                         int (*each)(void *arg, const struct ph_outbox_status *status), void *arg,
                         struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_verify_begin(void *ctx, const char *pipeline, int64_t *ret_estimate,
                               struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_verify_page(void *ctx, int64_t *last,
                              int (*each)(void *arg, const struct ph_outbox_row *row), void *arg,
                              struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_verify_oldest(void *ctx, int64_t *ret, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_verify_lookup(void *ctx, const struct ph_outbox_question *questions, size_t count,
                                enum ph_origin *out, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_cleanup(void *ctx, int64_t retention_ms, bool dry_run,
                          int (*each)(void *arg, const struct ph_outbox_part *part), void *arg,
                          struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_forget(void *ctx, const char *pipeline, bool discard_parked,
                         const struct ph_outbox_act *act, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_erase(void *ctx, const char *aggregate_type, const char *aggregate_id,
                        const struct ph_outbox_act *act, int64_t *ret,
                        struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_parked_list(void *ctx, const struct ph_outbox_filter *filter,
                              int (*each)(void *arg, const struct ph_outbox_parked *row), void *arg,
                              struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_redrive(void *ctx, const struct ph_outbox_filter *filter, double rate,
                          bool dry_run, const struct ph_outbox_act *act, int64_t *ret,
                          struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_discard(void *ctx, const struct ph_outbox_filter *filter, bool dry_run,
                          const struct ph_outbox_act *act, int64_t *ret,
                          struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_note(void *ctx, const char *what, const struct ph_outbox_act *act,
                       struct ph_buf *detail, struct ph_error *err);
int ph__pg_outbox_pause(void *ctx, const char *pipeline, bool paused,
                        const struct ph_outbox_act *act, struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_reshard(void *ctx, const char *pipeline, int shards,
                          const struct ph_outbox_act *act, struct ph_outbox_resharded *ret,
                          struct ph_error *err) PH_MUST_CHECK;
int ph__pg_outbox_adopt(void *ctx, const struct ph_outbox_adopt *how,
                        const struct ph_outbox_act *act,
                        int (*each)(void *arg, const struct ph_outbox_adopted *adopted), void *arg,
                        struct ph_error *err) PH_MUST_CHECK;

#endif
