/* Clearing the log in SQLite: for the relay's keeper and for posthorn cleanup. */
#ifndef PH_DB_SQLITE_CLEAR_H
#define PH_DB_SQLITE_CLEAR_H

#include "db/sqlite.h"

/* Deletes events that every pipeline has settled and that are older than retention_ms, in small
 * transactions, until none is left or budget_ms is over. *ret = how many. */
int ph_sqlite_clear(struct ph_sqlite *db, int64_t retention_ms, int64_t budget_ms, int64_t *ret,
                    struct ph_error *err) PH_MUST_CHECK;
/* How many it would delete now. */
int ph_sqlite_clearable(struct ph_sqlite *db, int64_t retention_ms, int64_t *ret,
                        struct ph_error *err) PH_MUST_CHECK;

#endif
