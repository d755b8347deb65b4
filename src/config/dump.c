/*
 * Writes a loaded configuration out: what was given, what the tables say otherwise, and from where.
 * Place: `posthorn config dump`. Promise: no secret, wherever it came from.
 */
#include "config/dump.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "config/uri.h"

static void put_line(struct ph_buf *out, const char *name, struct ph_str value, const char *origin)
{
    ph_buf_puts(out, "      ");
    ph_json_put_string(out, ph_str_from(name));
    ph_buf_puts(out, ": ");
    ph_json_put_string(out, value);
    ph_buf_printf(out, "  # %s\n", origin);
}

static bool is_uri(const char *name)
{
    return strcmp(name, "uri") == 0;
}

/* One value that was given, unless it is a secret. */
static void put_given(struct ph_buf *out, const char *name, const struct ph_value *value)
{
    struct ph_buf shown;
    ph_buf_init(&shown, 65536);
    if (is_uri(name)) {
        ph_uri_redact(value->value, &shown);
    } else {
        ph_buf_puts(&shown, ph_name_is_secret(ph_str_from(name)) ? "***" : value->value);
    }
    put_line(out, name, ph_buf_str(&shown), value->origin);
    ph_buf_free(&shown);
}

/* The last value of each key of a family that begins so, in the order in which they were given. */
static void put_below(struct ph_buf *out, const struct ph_settings *settings, const char *family,
                      const char *start)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s.%s", family, start);
    for (size_t i = 0; i < settings->given.count; i++) {
        const struct ph_value *value = &settings->given.items[i];
        if (strncmp(value->key, full, strlen(full)) == 0 &&
            ph_values_find(&settings->given, settings->name, value->key) == value) {
            put_given(out, value->key + strlen(family) + 1, value);
        }
    }
}

static void put_row(struct ph_buf *out, const struct ph_settings *settings, const char *family,
                    const struct ph_option *row)
{
    char key[128];
    if (row->type == PH_OPT_MAP) {
        (void)snprintf(key, sizeof key, "%.*s", (int)strlen(row->name) - 1, row->name);
        put_below(out, settings, family, key);
        return;
    }
    (void)snprintf(key, sizeof key, "%s%s%s", family, *family ? "." : "", row->name);
    const struct ph_value *value = ph_values_find(&settings->given, settings->name, key);
    if (value) {
        put_given(out, row->name, value);
    } else if (row->fallback) {
        put_line(out, row->name, ph_str_from(row->fallback), "default");
    } else {
        ph_buf_printf(out, "      # %s is not set\n", row->name);
    }
}

static void put_family(struct ph_buf *out, const struct ph_settings *settings, const char *family,
                       const struct ph_option *table)
{
    ph_buf_printf(out, "    %s:\n", family);
    put_below(out, settings, family, "uri");
    for (const struct ph_option *row = table; row->name; row++) {
        put_row(out, settings, family, row);
    }
}

static bool has_values(const struct ph_settings *settings, const char *family)
{
    size_t len = strlen(family);
    for (size_t i = 0; i < settings->given.count; i++) {
        const char *key = settings->given.items[i].key;
        if (strncmp(key, family, len) == 0 && key[len] == '.') {
            return true;
        }
    }
    return false;
}

static void put_pipeline(struct ph_buf *out, const struct ph_settings *settings)
{
    const struct ph_pipeline_config *pipeline = &settings->pipeline;
    ph_buf_puts(out, "  ");
    ph_json_put_string(out, ph_str_from(settings->name));
    ph_buf_puts(out, ":\n");
    put_family(out, settings, "source", pipeline->source->options);
    put_family(out, settings, "sink", pipeline->sink->options);
    if (has_values(settings, "match")) {
        put_family(out, settings, "match", ph_match_options);
    }
    put_family(out, settings, "route", ph_route_options);
    put_below(out, settings, "route", "rules.");
    put_family(out, settings, "retry", ph_retry_option_table);
    struct ph_buf own;
    ph_buf_init(&own, 65536);
    for (const struct ph_option *row = ph_pipeline_option_table; row->name; row++) {
        put_row(&own, settings, "", row);
    }
    /* the pipeline's own keys stand two columns further left */
    for (const char *line = ph_buf_text(&own); *line; line += strcspn(line, "\n") + 1) {
        ph_buf_printf(out, "%.*s\n", (int)strcspn(line, "\n") - 2, line + 2);
    }
    ph_buf_free(&own);
}

void ph_config_dump(const struct ph_config *config, struct ph_buf *out)
{
    ph_buf_puts(out, "pipelines:\n");
    for (size_t i = 0; i < config->count; i++) {
        put_pipeline(out, config->pipelines[i]);
    }
}
