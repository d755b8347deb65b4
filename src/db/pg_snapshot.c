/*
 * Parsing, writing and asking pg_snapshot texts. A source splits what it read between two ticks by
 * asking each tick's snapshot whether it sees the row's transaction; the answer must be the
 * server's own (pg_visible_in_snapshot). The text may come from a table that others can write:
 * every number is checked before it is used.
 */
#include "db/pg_snapshot.h"

#include <assert.h>

/* Takes digits up to `until` (or the end when until is '\0') off the front of s. */
static bool take_number(struct ph_str *s, char until, uint64_t *out)
{
    size_t n = 0;
    while (n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9') {
        n++;
    }
    if (!ph_str_u64((struct ph_str){s->ptr, n}, out)) {
        return false;
    }
    bool at_end = n == s->len;
    if (until != '\0' && (at_end || s->ptr[n] != until)) {
        return false;
    }
    size_t used = until != '\0' ? n + 1 : n;
    *s = (struct ph_str){s->ptr + used, s->len - used};
    return true;
}

static size_t count_commas(struct ph_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        n += s.ptr[i] == ',';
    }
    return n;
}

static bool parse_xip(struct ph_str s, uint64_t *xip, size_t count,
                      const struct ph_pg_snapshot *bounds)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t xid;
        if (!take_number(&s, i + 1 < count ? ',' : '\0', &xid)) {
            return false;
        }
        if (xid < bounds->xmin || xid >= bounds->xmax || (i > 0 && xid <= xip[i - 1])) {
            return false;
        }
        xip[i] = xid;
    }
    return s.len == 0;
}

int ph_pg_snapshot_parse(struct ph_str text, struct ph_arena *arena, struct ph_pg_snapshot *out,
                         struct ph_error *err)
{
    struct ph_pg_snapshot snapshot = {0};
    struct ph_str rest = text;
    if (!take_number(&rest, ':', &snapshot.xmin) || !take_number(&rest, ':', &snapshot.xmax) ||
        snapshot.xmin > snapshot.xmax) {
        return ph_fail(err, PH_E_DATA, "not a pg_snapshot: expected xmin:xmax:xip,...");
    }
    if (rest.len > 0) {
        size_t count = count_commas(rest) + 1;
        if (count > PH_PG_XIP_MAX) {
            return ph_fail(err, PH_E_DATA,
                           "pg_snapshot lists %zu open transactions, at most %d can be", count,
                           PH_PG_XIP_MAX);
        }
        uint64_t *xip = ph_arena_alloc(arena, count * sizeof *xip);
        if (!xip) {
            return ph_fail(err, PH_E_NOMEM, "no memory for a pg_snapshot of %zu open transactions",
                           count);
        }
        if (!parse_xip(rest, xip, count, &snapshot)) {
            return ph_fail(err, PH_E_DATA,
                           "not a pg_snapshot: its open transactions are out of order or bounds");
        }
        snapshot.xip = xip;
        snapshot.xip_count = count;
    }
    *out = snapshot;
    return 0;
}

void ph_pg_snapshot_put(struct ph_buf *buf, const struct ph_pg_snapshot *snapshot)
{
    ph_buf_put_u64(buf, snapshot->xmin);
    ph_buf_putc(buf, ':');
    ph_buf_put_u64(buf, snapshot->xmax);
    ph_buf_putc(buf, ':');
    for (size_t i = 0; i < snapshot->xip_count; i++) {
        if (i > 0) {
            ph_buf_putc(buf, ',');
        }
        ph_buf_put_u64(buf, snapshot->xip[i]);
    }
}

bool ph_pg_snapshot_sees(const struct ph_pg_snapshot *snapshot, uint64_t xid)
{
    if (xid < snapshot->xmin) {
        return true;
    }
    if (xid >= snapshot->xmax) {
        return false;
    }
    size_t lo = 0, hi = snapshot->xip_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (snapshot->xip[mid] == xid) {
            return false;
        }
        if (snapshot->xip[mid] < xid) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return true;
}

/* outer sees no less than inner when each transaction that outer does not see, inner does not see
 * either. */
bool ph_pg_snapshot_contains(const struct ph_pg_snapshot *outer, const struct ph_pg_snapshot *inner)
{
    assert(outer && inner);
    for (size_t i = 0; i < outer->xip_count; i++) {
        if (ph_pg_snapshot_sees(inner, outer->xip[i])) {
            return false;
        }
    }
    if (outer->xmax >= inner->xmax) {
        return true;
    }
    /* inner reaches further: it must not see anything at or behind outer's end */
    size_t open = 0;
    for (size_t i = 0; i < inner->xip_count; i++) {
        open += inner->xip[i] >= outer->xmax;
    }
    return open == inner->xmax - outer->xmax;
}
