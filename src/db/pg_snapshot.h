/*
 * pg_snapshot texts: "xmin:xmax:xip,xip,...", the set of transactions that a tick sees.
 * https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
 */
#ifndef PH_DB_PG_SNAPSHOT_H
#define PH_DB_PG_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

/* More open transactions than any server has connections; a longer text is refused. */
#define PH_PG_XIP_MAX 300000

struct ph_pg_snapshot {
    uint64_t xmin;       /* all before it are over */
    uint64_t xmax;       /* it and all behind it had not begun */
    const uint64_t *xip; /* in between, still open; ascending; in the arena */
    size_t xip_count;
};

/* The snapshot that sees nothing: before the first transaction a user can make. */
#define PH_PG_SNAPSHOT_EMPTY "3:3:"

/* Strict: numbers without sign, xmin <= xip < xmax, ascending. PH_E_DATA otherwise, PH_E_NOMEM. */
int ph_pg_snapshot_parse(struct ph_str text, struct ph_arena *arena, struct ph_pg_snapshot *out,
                         struct ph_error *err) PH_MUST_CHECK;
/* Writes the text again: only digits, ':' and ','. */
void ph_pg_snapshot_put(struct ph_buf *buf, const struct ph_pg_snapshot *snapshot);
/* Whether the snapshot sees transaction xid, as pg_visible_in_snapshot says. */
bool ph_pg_snapshot_sees(const struct ph_pg_snapshot *snapshot, uint64_t xid);
/* Whether everything that inner sees is seen by outer, too. */
bool ph_pg_snapshot_contains(const struct ph_pg_snapshot *outer,
                             const struct ph_pg_snapshot *inner);

#endif
