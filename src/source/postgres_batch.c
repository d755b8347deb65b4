/*
 * From raw rows to a batch: which tick sees a row first, the order (tick, position), and the
 * checkpoint at the batch's end. A tick's visible set contains the one before it, so the first tick
 * of the group that sees a transaction is found by halving.
 */
#include <assert.h>
#include <stdlib.h>

#include "source/postgres_read.h"

static uint32_t tick_of(const struct ph_pg_source *s, uint64_t xid)
{
    const struct ph_pg_tick *ticks = &s->ticks[s->ticks_head];
    size_t lo = 0, hi = s->group - 1;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (ph_pg_snapshot_sees(&ticks[mid].snapshot, xid)) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return (uint32_t)lo;
}

static int compare_rows(const void *pa, const void *pb)
{
    const struct ph_pg_row *a = pa, *b = pb;
    if (a->tick_index != b->tick_index) {
        return a->tick_index < b->tick_index ? -1 : 1;
    }
    return (a->position > b->position) - (a->position < b->position);
}

/* Assigns ticks, drops rows at or before the resume point, sorts unless they came in order. */
static void order_rows(struct ph_pg_source *s)
{
    size_t kept = 0;
    bool sorted = true;
    for (size_t i = 0; i < s->row_count; i++) {
        struct ph_pg_row row = s->rows[i];
        row.tick_index = s->group > 1 ? tick_of(s, row.xid) : 0;
        if (row.tick_index == 0 && row.position <= s->after) {
            continue;
        }
        s->rows[kept] = row;
        sorted = sorted && (kept == 0 || compare_rows(&s->rows[kept - 1], &s->rows[kept]) < 0);
        kept++;
    }
    s->row_count = kept;
    if (!sorted) {
        qsort(s->rows, s->row_count, sizeof *s->rows, compare_rows);
    }
}

static struct ph_str copy_text(struct ph_arena *arena, struct ph_str text)
{
    return (struct ph_str){ph_arena_copy(arena, text.ptr, text.len), text.len};
}

static const struct ph_tick_span *new_span(struct ph_pg_source *s, struct ph_batch *batch,
                                           uint32_t tick_index)
{
    const struct ph_pg_tick *tick = &s->ticks[s->ticks_head + tick_index];
    const struct ph_pg_tick *before = tick_index > 0 ? tick - 1 : &s->prev;
    struct ph_tick_span *span = ph_arena_alloc(&batch->arena, sizeof *span);
    if (!span) {
        return NULL;
    }
    span->tick = tick->tick;
    span->snapshot = copy_text(&batch->arena, tick->text);
    span->base_snapshot = copy_text(&batch->arena, before->text);
    return span->snapshot.ptr && span->base_snapshot.ptr ? span : NULL;
}

static int decode_rows(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    const struct ph_tick_span *span = NULL;
    for (size_t i = 0; i < s->row_count; i++) {
        const struct ph_pg_row *row = &s->rows[i];
        if (!span || row->tick_index != s->rows[i - 1].tick_index) {
            span = new_span(s, batch, row->tick_index);
            if (!span) {
                return ph_fail(err, PH_E_NOMEM, "no memory for a batch");
            }
        }
        struct ph_event *event = ph_batch_add(batch);
        if (!event) {
            return ph_fail(err, PH_E_SOFTWARE, "a batch is smaller than what was read for it");
        }
        event->span = span;
        const char *flaw;
        int rc = ph_pg_row_decode(row->bytes, row->len, event, &flaw, err);
        if (rc < 0) {
            return rc;
        }
        if (flaw) {
            ph_batch_verdict(batch, event, PH_REJECT, flaw);
        }
    }
    batch->bytes = s->rows_bytes;
    return 0;
}

/* The checkpoint once all of the batch is settled. */
static int set_end(struct ph_pg_source *s, struct ph_batch *batch, bool whole, struct ph_error *err)
{
    const struct ph_pg_tick *last = &s->ticks[s->ticks_head + s->group - 1];
    const struct ph_event *event = batch->count > 0 ? &batch->events[batch->count - 1] : NULL;
    bool in_last = event && event->span->tick == last->tick;
    batch->end = (struct ph_checkpoint){
        .at = {last->tick, in_last         ? event->position
                           : s->group == 1 ? s->after
                                           : 0},
        .snapshot = copy_text(&batch->arena, last->text),
        .timeline = s->timeline,
    };
    batch->end.base_snapshot = whole ? batch->end.snapshot : copy_text(&batch->arena, s->prev.text);
    if (!batch->end.snapshot.ptr || !batch->end.base_snapshot.ptr) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a batch");
    }
    batch->has_end = true;
    return 0;
}

int ph_pg_batch_group(struct ph_pg_source *s, struct ph_batch *batch, struct ph_error *err)
{
    order_rows(s);
    int rc = decode_rows(s, batch, err);
    return rc < 0 ? rc : set_end(s, batch, true, err);
}

int ph_pg_batch_page(struct ph_pg_source *s, struct ph_batch *batch, bool whole,
                     struct ph_error *err)
{
    for (size_t i = 1; i < s->row_count; i++) {
        if (s->rows[i].position <= s->rows[i - 1].position) {
            return ph_fail(err, PH_E_DATA, "a page of posthorn.outbox came out of order");
        }
    }
    int rc = decode_rows(s, batch, err);
    return rc < 0 ? rc : set_end(s, batch, whole, err);
}
