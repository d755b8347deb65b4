/* What the files of the SQLite driver share. */
#ifndef PH_OUTBOX_SQLITE_H
#define PH_OUTBOX_SQLITE_H

#include "db/sqlite.h"
#include "outbox/outbox.h"

struct ph_sqlite_outbox {
    struct ph_sqlite db;
    char log_id[PH_SQLITE_LOG_ID_LEN + 1];
    sqlite3_stmt *insert;   /* made at the first use */
    char *pipeline;         /* verify: whose checkpoint */
    int64_t first, settled; /* and what is settled: behind first, up to settled */
};

/* A row of the audit; detail is a JSON object. */
int ph__sqlite_outbox_audit(struct ph_sqlite *db, const char *what, const struct ph_outbox_act *act,
                            struct ph_buf *detail, struct ph_error *err) PH_MUST_CHECK;
/* Ends what BEGIN IMMEDIATE began: with COMMIT when rc is above 0. Gives rc back. */
int ph__sqlite_outbox_end(struct ph_sqlite *db, int rc, struct ph_error *err) PH_MUST_CHECK;

/* The calls of the driver, see outbox.h. */
int ph__sqlite_outbox_init(const char *uri, const struct ph_outbox_init *how, struct ph_buf *said,
                           struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_begin(void *ctx, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_insert(void *ctx, const struct ph_outbox_event *events, size_t count,
                             size_t *bad, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_commit(void *ctx, bool *unknown, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_status(void *ctx, const char *pipeline,
                             int (*each)(void *arg, const struct ph_outbox_status *status),
                             void *arg, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_verify_begin(void *ctx, const char *pipeline, int64_t *ret_estimate,
                                   struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_verify_page(void *ctx, int64_t *last,
                                  int (*each)(void *arg, const struct ph_outbox_row *row),
                                  void *arg, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_verify_oldest(void *ctx, int64_t *ret, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_verify_lookup(void *ctx, const struct ph_outbox_question *questions,
                                    size_t count, enum ph_origin *out,
                                    struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_cleanup(void *ctx, int64_t retention_ms, bool dry_run,
                              int (*each)(void *arg, const struct ph_outbox_part *part), void *arg,
                              struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_forget(void *ctx, const char *pipeline, bool discard_parked,
                             const struct ph_outbox_act *act, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_erase(void *ctx, const char *aggregate_type, const char *aggregate_id,
                            const struct ph_outbox_act *act, int64_t *ret,
                            struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_parked_list(void *ctx, const struct ph_outbox_filter *filter,
                                  int (*each)(void *arg, const struct ph_outbox_parked *row),
                                  void *arg, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_redrive(void *ctx, const struct ph_outbox_filter *filter, double rate,
                              bool dry_run, const struct ph_outbox_act *act, int64_t *ret,
                              struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_discard(void *ctx, const struct ph_outbox_filter *filter, bool dry_run,
                              const struct ph_outbox_act *act, int64_t *ret,
                              struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_note(void *ctx, const char *what, const struct ph_outbox_act *act,
                           struct ph_buf *detail, struct ph_error *err);
int ph__sqlite_outbox_pause(void *ctx, const char *pipeline, bool paused,
                            const struct ph_outbox_act *act, struct ph_error *err) PH_MUST_CHECK;
int ph__sqlite_outbox_adopt(void *ctx, const struct ph_outbox_adopt *how,
                            const struct ph_outbox_act *act,
                            int (*each)(void *arg, const struct ph_outbox_adopted *adopted),
                            void *arg, struct ph_error *err) PH_MUST_CHECK;

#endif
