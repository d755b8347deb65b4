/*
 * Fuzz target: templates of topics and keys. Whatever compiles can be filled for an event that has
 * every field, and the result has the length of its parts; an event without fields is refused
 * unless the template has none; a mistake is named by a place inside the text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Gives every field a value; headers named as in the template are found by their names only. */
static void fill_full(const struct ph_template *tpl, struct ph_arena *arena)
{
    struct ph_event event = {.aggregate_type = PH_STR("type"),
                             .aggregate_id = PH_STR("id"),
                             .event_type = PH_STR("event")};
    struct ph_header headers[] = {{PH_STR("a"), PH_STR("value")}, {PH_STR("tenant"), PH_STR("t")}};
    struct ph_str out = {NULL, 0};
    int rc = ph_template_fill(tpl, arena, &event, headers, 2, &out, NULL);
    must(rc == 0 || (rc == PH_E_REFUSED && ph_template_needs_headers(tpl)));
    must(rc < 0 || (out.len > 0 && out.ptr));
    must(!ph_template_is_aggregate_id(tpl) || ph_str_is(out, "id"));
    struct ph_str again = {NULL, 0};
    must(ph_template_fill(tpl, arena, &event, headers, 2, &again, NULL) == rc);
    must(ph_str_eq(out, again));
}

static void fill_empty(const struct ph_template *tpl, struct ph_arena *arena)
{
    struct ph_event event = {.position = 1};
    struct ph_str out = {NULL, 0};
    struct ph_error err = {0};
    int rc = ph_template_fill(tpl, arena, &event, NULL, 0, &out, &err);
    must(rc == 0 || rc == PH_E_REFUSED);
    must(rc == 0 ? out.len > 0 && ph_template_by_type(tpl) : strchr(err.text, '{') != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* On the heap and of the exact size, so that a byte read too far is seen. */
    char *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ph_template *tpl = NULL;
    struct ph_error err = {0};
    int rc = ph_template_new((struct ph_str){copy, size}, &tpl, &err);
    must(rc == 0 || (rc == PH_E_CONFIG && err.text[0] != '\0' && !tpl));
    free(copy);
    if (rc == 0) {
        struct ph_arena arena;
        ph_arena_init(&arena, (size_t)1 << 20);
        fill_full(tpl, &arena);
        fill_empty(tpl, &arena);
        ph_arena_free(&arena);
    }
    ph_template_free(tpl);
    return 0;
}
