/*
 * COPY takes no parameters. The few statements that need values inside COPY get them here, and
 * nowhere else: a value can only be an integer, a snapshot that was parsed, or a list of
 * transaction ids, so that what is put into the text consists of digits,
 * ':', ',' and '-' by construction. The .sql file writes :name or :'name', as psql does.
 */
#ifndef PH_DB_PG_BIND_H
#define PH_DB_PG_BIND_H

#include "db/pg_snapshot.h"

enum ph_pg_bind_kind { PH_PG_BIND_I64, PH_PG_BIND_U64, PH_PG_BIND_SNAPSHOT, PH_PG_BIND_XIDS };

struct ph_pg_bind {
    const char *name;
    enum ph_pg_bind_kind kind;
    int64_t i64;
    uint64_t u64;
    const struct ph_pg_snapshot *snapshot;
    const uint64_t *xids;
    size_t xid_count;
};

/* Writes sql with every :name replaced. PH_E_SOFTWARE names one that has no value; PH_E_NOMEM. */
int ph_pg_bind(struct ph_buf *out, const char *sql, const struct ph_pg_bind *binds, size_t count,
               struct ph_error *err) PH_MUST_CHECK;

#endif
