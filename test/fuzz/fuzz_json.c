/*
 * Fuzz target: the JSON scanner and writer. Nothing is read out of bounds; a walk that completes
 * means that the check accepts too; slices lie in the text; a string that is resolved is UTF-8 and
 * survives being written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define ROOM ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool inside(struct ph_str text, struct ph_str slice)
{
    return slice.ptr >= text.ptr && slice.ptr + slice.len <= text.ptr + text.len;
}

/* Writes the text of a string and reads it back. */
static void there_and_back(struct ph_arena *arena, struct ph_str text)
{
    struct ph_buf buf;
    struct ph_str again;
    ph_buf_init(&buf, ROOM);
    ph_json_put_string(&buf, text);
    if (!buf.failed) {
        must(ph_json_check(ph_buf_str(&buf), NULL) == 0);
        int rc = ph_json_string(arena, ph_buf_str(&buf), &again, NULL);
        if (ph_str_utf8(text) && !(text.len && memchr(text.ptr, 0, text.len))) {
            must(rc == PH_E_NOMEM || (rc == 0 && ph_str_eq(text, again)));
        }
    }
    ph_buf_free(&buf);
}

static void look_at(struct ph_arena *arena, struct ph_str value)
{
    struct ph_str text;
    if (ph_json_string(arena, value, &text, NULL) == 0) {
        must(ph_json_is_string(value));
        must(ph_str_utf8(text) && !(text.len && memchr(text.ptr, 0, text.len)));
        there_and_back(arena, text);
    }
}

static void walk(struct ph_arena *arena, struct ph_str text)
{
    struct ph_json_walk walk = ph_json_walk_object(text);
    struct ph_json_member member;
    struct ph_str name;
    int rc;
    while ((rc = ph_json_next(&walk, &member, NULL)) == 1) {
        must(inside(text, member.name) && inside(text, member.value));
        must(ph_json_check(member.value, NULL) == 0);
        if (ph_json_name(arena, member.name, &name, NULL) == 0) {
            must(ph_str_utf8(name));
        }
        look_at(arena, member.value);
    }
    size_t first = 0;
    while (first < text.len && strchr(" \t\r\n", text.ptr[first]) && text.ptr[first] != '\0') {
        first++;
    }
    bool object = first < text.len && text.ptr[first] == '{';
    must((rc == 0) == (object && ph_json_check(text, NULL) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* On the heap and of the exact size, so that a byte read too far is seen. */
    char *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ph_str text = {copy, size};
    struct ph_arena arena;
    ph_arena_init(&arena, ROOM);
    look_at(&arena, text);
    there_and_back(&arena, text);
    walk(&arena, text);
    ph_arena_free(&arena);
    free(copy);
    return 0;
}
