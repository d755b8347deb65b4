/*
 * A growing list of values and their origins.
 * Place: filled by file, environment and --set; emptied into settings, pipeline by pipeline.
 */
#include "config/values.h"

#include <string.h>

#include "base/sys.h"

static char *copy(struct ph_str text)
{
    char *made = ph_mem_alloc(text.len + 1);
    if (made) {
        if (text.len > 0) {
            memcpy(made, text.ptr, text.len);
        }
        made[text.len] = '\0';
    }
    return made;
}

static void free_value(struct ph_value *value)
{
    ph_mem_free(value->pipeline);
    ph_mem_free(value->key);
    ph_mem_free(value->value);
    ph_mem_free(value->origin);
}

static int make_room(struct ph_values *values, struct ph_error *err)
{
    if (values->count < values->cap) {
        return 0;
    }
    if (values->count >= PH_VALUES_MAX) {
        return ph_fail(err, PH_E_CONFIG, "more than %d values", PH_VALUES_MAX);
    }
    size_t cap = values->cap ? values->cap * 2 : 64;
    struct ph_value *items = ph_mem_resize(values->items, cap * sizeof *items);
    if (!items) {
        return ph_fail(err, PH_E_NOMEM, "no memory for the configuration");
    }
    values->items = items;
    values->cap = cap;
    return 0;
}

int ph_values_add(struct ph_values *values, struct ph_str pipeline, struct ph_str key,
                  struct ph_str value, const char *origin, struct ph_error *err)
{
    int rc = make_room(values, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_value made = {copy(pipeline), copy(key), copy(value), ph_mem_strdup(origin)};
    if (!made.pipeline || !made.key || !made.value || !made.origin) {
        free_value(&made);
        return ph_fail(err, PH_E_NOMEM, "no memory for the configuration");
    }
    values->items[values->count++] = made;
    return 0;
}

const struct ph_value *ph_values_find(const struct ph_values *values, const char *pipeline,
                                      const char *key)
{
    for (size_t i = values->count; i > 0; i--) {
        const struct ph_value *value = &values->items[i - 1];
        if (strcmp(value->key, key) == 0 && strcmp(value->pipeline, pipeline) == 0) {
            return value;
        }
    }
    return NULL;
}

void ph_values_free(struct ph_values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        free_value(&values->items[i]);
    }
    ph_mem_free(values->items);
    *values = (struct ph_values){0};
}
