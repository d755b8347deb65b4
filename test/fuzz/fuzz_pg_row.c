/*
 * Fuzz target: the rows of a binary COPY, with the header in front and without. Nothing is read out
 * of bounds; slices lie in the row; what peeking says is what decoding says.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "source/postgres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Reads every byte of the slice, so that the sanitizer sees them all. */
static void inside(const char *bytes, size_t len, struct ph_str slice)
{
    if (!slice.ptr) {
        must(slice.len == 0);
        return;
    }
    must(slice.ptr >= bytes && slice.ptr + slice.len <= bytes + len);
    unsigned sum = 0;
    for (size_t i = 0; i < slice.len; i++) {
        sum += (unsigned char)slice.ptr[i];
    }
    volatile unsigned used = sum;
    (void)used;
}

static void row(const char *bytes, size_t len)
{
    struct ph_event event = {0};
    struct ph_error err = {0};
    uint64_t xid = 0;
    int64_t position = 0;
    bool peeked = ph_pg_row_peek(bytes, len, &xid, &position);
    const char *flaw = NULL;
    int rc = ph_pg_row_decode(bytes, len, &event, &flaw, &err);
    must(rc == 0 || (rc == PH_E_DATA && err.code == rc));
    if (rc < 0) {
        return;
    }
    must(peeked && event.xid == xid && event.position == position);
    must(event.aggregate_type.ptr && event.aggregate_id.ptr && event.event_type.ptr);
    inside(bytes, len, event.aggregate_type);
    inside(bytes, len, event.aggregate_id);
    inside(bytes, len, event.event_type);
    inside(bytes, len, event.headers_json);
    inside(bytes, len, event.payload);
    if (!ph_str_is(event.content_type, "application/octet-stream")) {
        inside(bytes, len, event.content_type);
    }
    must(!event.content_type.ptr || event.payload.ptr); /* a tombstone has no type */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* on the heap and of the exact size, so that a byte read too far is seen */
    char *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    const char *at = copy;
    size_t len = size;
    if (ph_pg_row_skip_header(&at, &len) == 0) {
        must(at >= copy && at + len == copy + size);
    } else {
        must(at == copy && len == size);
    }
    row(at, len);
    free(copy);
    return 0;
}
