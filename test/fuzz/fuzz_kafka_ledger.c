/*
 * Fuzz target: records of the checkpoint topic, a line each, key and value parted by a tab (no tab:
 * no value). What is taken as a checkpoint is written and read again without a difference; rows
 * stay in order, each once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/checkpoint_json.h"
#include "sink/kafka_txn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool same(const struct ph_checkpoint *a, const struct ph_checkpoint *b)
{
    return ph_position_cmp(a->at, b->at) == 0 && ph_str_eq(a->snapshot, b->snapshot) &&
           ph_str_eq(a->base_snapshot, b->base_snapshot) &&
           ph_str_eq(a->start_snapshot, b->start_snapshot) && ph_str_eq(a->log, b->log) &&
           a->timeline == b->timeline && a->epoch == b->epoch;
}

static void check_checkpoint(const struct ph_kafka_found *found)
{
    struct ph_buf text;
    struct ph_arena arena;
    struct ph_checkpoint back;
    int64_t serial;
    ph_buf_init(&text, (size_t)16 << 20);
    ph_arena_init(&arena, (size_t)16 << 20);
    ph_checkpoint_json(&found->kept.cp, found->serial, &text);
    must(!text.failed);
    must(ph_checkpoint_json_parse(ph_buf_str(&text), &arena, &back, &serial, NULL) == 0);
    must(serial == found->serial && same(&found->kept.cp, &back));
    ph_arena_free(&arena);
    ph_buf_free(&text);
}

static void check_rows(const struct ph_kafka_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        must(i == 0 || ph_position_cmp(rows->at[i - 1], rows->at[i]) < 0);
        must(ph_kafka_rows_have(rows, rows->at[i]));
    }
}

static void take_line(struct ph_kafka_found *found, struct ph_str line)
{
    const char *tab = line.len > 0 ? memchr(line.ptr, '\t', line.len) : NULL;
    struct ph_str key = {line.ptr, tab ? (size_t)(tab - line.ptr) : line.len}, value = {NULL, 0};
    if (tab) {
        value = (struct ph_str){tab + 1, line.len - key.len - 1};
    }
    struct ph_error err = {0};
    bool before = found->found;
    int rc = ph_kafka_ledger_take(found, key, value, &err);
    must(rc == 0 || (rc == PH_E_DATA && err.text[0] != '\0'));
    must(rc == 0 || ph_str_is(key, "checkpoint") || found->found == before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ph_kafka_found found = {0};
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        take_line(&found, (struct ph_str){at, len});
        at += len + 1;
    }
    if (found.found) {
        check_checkpoint(&found);
    }
    check_rows(&found.sent);
    ph_kafka_found_free(&found);
    return 0;
}
