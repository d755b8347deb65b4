/*
 * Fuzz target: pg_snapshot texts, two of them with a line end between. What is parsed obeys the
 * rules, survives being written and read again, and sees and contains what a slow search says.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "db/pg_snapshot.h"

#define ROOM ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool open_in(const struct ph_pg_snapshot *s, uint64_t xid)
{
    for (size_t i = 0; i < s->xip_count; i++) {
        if (s->xip[i] == xid) {
            return true;
        }
    }
    return false;
}

static bool sees(const struct ph_pg_snapshot *s, uint64_t xid)
{
    return xid < s->xmax && !open_in(s, xid);
}

/* Asks about xid and its neighbours. */
static void look_near(const struct ph_pg_snapshot *s, uint64_t xid)
{
    for (uint64_t x = xid - (xid > 0); x <= xid + (xid < UINT64_MAX); x++) {
        must(ph_pg_snapshot_sees(s, x) == sees(s, x));
        if (x == UINT64_MAX) {
            break;
        }
    }
}

static void check(const struct ph_pg_snapshot *s)
{
    must(s->xmin <= s->xmax && s->xip_count <= PH_PG_XIP_MAX);
    for (size_t i = 0; i < s->xip_count; i++) {
        must(s->xip[i] >= s->xmin && s->xip[i] < s->xmax);
        must(i == 0 || s->xip[i - 1] < s->xip[i]);
    }
    look_near(s, 0);
    look_near(s, s->xmin);
    look_near(s, s->xmax);
    look_near(s, UINT64_MAX);
    for (size_t i = 0; i < s->xip_count && i < 64; i++) {
        look_near(s, s->xip[i]);
    }
}

static void there_and_back(struct ph_arena *arena, const struct ph_pg_snapshot *s)
{
    struct ph_buf buf;
    struct ph_pg_snapshot again;
    ph_buf_init(&buf, ROOM);
    ph_pg_snapshot_put(&buf, s);
    must(!buf.failed && strspn(ph_buf_text(&buf), "0123456789:,") == buf.len);
    must(ph_pg_snapshot_parse(ph_buf_str(&buf), arena, &again, NULL) == 0);
    must(again.xmin == s->xmin && again.xmax == s->xmax && again.xip_count == s->xip_count);
    must(s->xip_count == 0 || memcmp(again.xip, s->xip, s->xip_count * sizeof *s->xip) == 0);
    ph_buf_free(&buf);
}

/* Whether inner sees a transaction that outer does not: one of outer's open ones, or the first
 * behind outer's end or behind one of inner's open ones. */
static bool sees_more(const struct ph_pg_snapshot *inner, const struct ph_pg_snapshot *outer)
{
    for (size_t i = 0; i < outer->xip_count; i++) {
        if (sees(inner, outer->xip[i])) {
            return true;
        }
    }
    if (sees(inner, outer->xmax)) {
        return true;
    }
    for (size_t i = 0; i < inner->xip_count; i++) {
        if (inner->xip[i] >= outer->xmax && sees(inner, inner->xip[i] + 1)) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* on the heap and of the exact size, so that a byte read too far is seen */
    char *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    const char *end = size > 0 ? memchr(copy, '\n', size) : NULL;
    struct ph_str texts[2] = {{copy, end ? (size_t)(end - copy) : size}, {copy, 0}};
    if (end) {
        texts[1] = (struct ph_str){end + 1, size - texts[0].len - 1};
    }
    struct ph_pg_snapshot snapshots[2];
    bool good[2];
    struct ph_arena arena;
    ph_arena_init(&arena, ROOM);
    for (int i = 0; i < 2; i++) {
        int rc = ph_pg_snapshot_parse(texts[i], &arena, &snapshots[i], NULL);
        must(rc == 0 || rc == PH_E_DATA || rc == PH_E_NOMEM);
        good[i] = rc == 0;
        if (good[i]) {
            check(&snapshots[i]);
            there_and_back(&arena, &snapshots[i]);
            must(ph_pg_snapshot_contains(&snapshots[i], &snapshots[i]));
        }
    }
    if (good[0] && good[1] && snapshots[0].xip_count < 500 && snapshots[1].xip_count < 500) {
        must(ph_pg_snapshot_contains(&snapshots[0], &snapshots[1]) !=
             sees_more(&snapshots[1], &snapshots[0]));
    }
    ph_arena_free(&arena);
    free(copy);
    return 0;
}
