/*
 * Fuzz target: the configuration file. Either there is no mistake and no line, or every line begins
 * with the file's name; every value has a key, a pipeline and a place; no key of a pipeline is
 * there twice; settings made from what was read name their mistakes likewise.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_lines(const struct ph_buf *problems, int rc)
{
    must(problems->failed || (rc == 0) == (problems->len == 0));
    for (const char *line = ph_buf_text(problems); *line && !problems->failed;) {
        must(strncmp(line, "f.yaml:", 7) == 0);
        line += strcspn(line, "\n");
        must(*line == '\n');
        line++;
    }
}

static void check_values(const struct ph_values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        const struct ph_value *value = &values->items[i];
        must(*value->key && !strchr(value->key, '\n'));
        must(strncmp(value->origin, "f.yaml:", 7) == 0);
        must(values->count > 200 || ph_values_find(values, value->pipeline, value->key) == value);
    }
}

/* Only what opens no file. */
static bool harmless(const struct ph_values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        if (strstr(values->items[i].key, "_file")) {
            return false;
        }
    }
    return true;
}

static void check_settings(const struct ph_values *values, const struct ph_document_names *names)
{
    for (size_t i = 0; i < names->count && i < 8 && harmless(values); i++) {
        const struct ph_settings_args args = {
            .name = names->names[i], .layers = &values, .layer_count = 1, .where = "f.yaml"};
        struct ph_settings settings = {0};
        struct ph_buf problems;
        ph_buf_init(&problems, (size_t)1 << 24);
        int rc = ph_settings_load(&settings, &args, &problems);
        must((rc == 0) == (problems.len == 0));
        must(rc < 0 || ph_settings_same(&settings, &settings));
        ph_settings_free(&settings);
        ph_buf_free(&problems);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ph_values values = {0};
    struct ph_document_names names = {0};
    struct ph_buf problems;
    ph_buf_init(&problems, (size_t)1 << 24);
    int rc = ph_document_parse("f.yaml", (struct ph_str){copy, size}, &values, &names, &problems);
    free(copy);
    check_lines(&problems, rc);
    check_values(&values);
    if (rc == 0) {
        check_settings(&values, &names);
    }
    ph_values_free(&values);
    ph_document_names_free(&names);
    ph_buf_free(&problems);
    return 0;
}
