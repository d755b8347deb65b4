/*
 * Turns words and layers of values into one pipeline's configuration: its name and its two drivers
 * first, since they bring the option tables, then every value, then what only all of it can tell.
 * Place: between the command line or a configuration and core.
 * Promise: every mistake is found in one pass and named in one line; nothing is opened but secrets.
 */
#include "config/settings.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "config/secret.h"
#include "config/settings_parts.h"
#include "config/uri.h"

/* Adds a line, unless another pipeline met the same mistake in a value for all. */
void ph__settings_report(struct ph_settings_load *load, int code, const char *text)
{
    struct ph_buf line;
    if (load->code == 0) {
        load->code = code;
    }
    ph_buf_init(&line, 2 * PH_ERROR_TEXT_MAX + load->mark.len);
    ph_buf_printf(&line, "%s%s\n", ph_buf_text(&load->mark), text);
    if (line.failed || !strstr(ph_buf_text(load->problems), ph_buf_text(&line))) {
        ph_buf_puts(load->problems, line.failed ? "out of memory\n" : ph_buf_text(&line));
    }
    ph_buf_free(&line);
}

void ph__settings_report_error(struct ph_settings_load *load, const struct ph_error *err)
{
    ph__settings_report(load, err->code, err->text);
}

/* From now on mistakes are those of this value; NULL: of the words. */
void ph__settings_mark(struct ph_settings_load *load, const struct ph_value *value)
{
    ph_buf_clear(&load->mark);
    if (value && strchr(value->origin, ':')) {
        ph_buf_printf(&load->mark, "%s: %s%s: ", value->origin,
                      *value->pipeline ? "pipelines." : "defaults", value->pipeline);
    } else if (value) {
        ph_buf_printf(&load->mark, "%s: %s%s", value->origin, value->pipeline,
                      *value->pipeline ? ": " : "");
    }
}

/* --- the three words ---------------------------------------------------------------------------
 */

static bool name_ok(const char *name)
{
    size_t len = strlen(name);
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return len >= 1 && len <= PH_PIPELINE_NAME_MAX && strspn(name, allowed) == len;
}

static void report_unknown_uri(struct ph_settings_load *load, const char *option, const char *uri,
                               struct ph_buf *names)
{
    struct ph_str scheme = ph_str_scheme(ph_str_from(uri));
    if (!scheme.ptr) {
        scheme = PH_STR("(no scheme)");
    }
    struct ph_error err = {0};
    (void)ph_fail(&err, PH_E_CONFIG, "%s: unknown kind of URI \"%.*s\"; expected one of: %s",
                  option, PH_STR_ARG(scheme), ph_buf_text(names));
    ph_buf_free(names);
    ph__settings_report_error(load, &err);
}

static void set_source(struct ph_settings_load *load, const char *option, const char *from)
{
    const struct ph_source_driver *driver = ph_source_find(from);
    if (!driver) {
        struct ph_buf names;
        ph_buf_init(&names, 1024);
        for (size_t i = 0; ph_source_drivers[i]; i++) {
            ph_buf_printf(&names, "%s%s", i ? ", " : "", ph_source_drivers[i]->name);
        }
        report_unknown_uri(load, option, from, &names);
        return;
    }
    load->settings->pipeline.source = driver;
    load->families[PH_FAMILY_SOURCE].table = driver->options;
}

static void set_sink(struct ph_settings_load *load, const char *option, const char *to)
{
    const struct ph_sink_driver *driver = ph_sink_find(to);
    if (!driver) {
        struct ph_buf names;
        ph_buf_init(&names, 1024);
        for (size_t i = 0; ph_sink_drivers[i]; i++) {
            ph_buf_printf(&names, "%s%s", i ? ", " : "", ph_sink_drivers[i]->name);
        }
        report_unknown_uri(load, option, to, &names);
        return;
    }
    load->settings->pipeline.sink = driver;
    load->families[PH_FAMILY_SINK].table = driver->options;
}

static void check_name(struct ph_settings_load *load, const char *option)
{
    if (!name_ok(load->name)) {
        struct ph_error err = {0};
        (void)ph_fail(&err, PH_E_CONFIG,
                      "%s: \"%s\" must be 1 to %d letters, digits, '_', '.' or '-'", option,
                      load->name, PH_PIPELINE_NAME_MAX);
        ph__settings_report_error(load, &err);
    }
}

/* Remembers what was set, for dump and for comparing. */
void ph__settings_keep(struct ph_settings_load *load, const char *key, struct ph_str value,
                       const char *origin)
{
    struct ph_error err = {0};
    int rc = ph_values_add(&load->settings->given, ph_str_from(load->name), ph_str_from(key), value,
                           origin, &err);
    if (rc < 0) {
        ph__settings_report_error(load, &err);
    }
}

/* The value of a key that holds: the last layer's, and there the pipeline's own. layer, which may
 * be NULL, says whose it is. */
static const struct ph_value *find_value(const struct ph_settings_load *load, const char *key,
                                         size_t *layer)
{
    for (size_t i = load->args->layer_count; i > 0; i--) {
        const struct ph_values *values = load->args->layers[i - 1];
        const struct ph_value *own = ph_values_find(values, load->name, key);
        const struct ph_value *found = own ? own : ph_values_find(values, "", key);
        if (found) {
            if (layer) {
                *layer = i;
            }
            return found;
        }
    }
    return NULL;
}

/* There is no URI; perhaps there is something else in its place. */
static int fail_no_uri(struct ph_settings_load *load, const char *key, struct ph_error *err)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < load->args->layer_count; i++) {
        const struct ph_values *layer = load->args->layers[i];
        for (size_t j = 0; j < layer->count; j++) {
            const struct ph_value *value = &layer->items[j];
            if (strncmp(value->key, key, len) == 0 && value->key[len] == '.' &&
                (!*value->pipeline || strcmp(value->pipeline, load->name) == 0)) {
                ph__settings_mark(load, value);
                return ph_fail(err, PH_E_CONFIG, "%s: expected one text, not a list or a mapping",
                               key);
            }
        }
    }
    return ph_fail(err, PH_E_CONFIG, "%s: pipelines.%s: %s is missing", load->args->where,
                   load->name, key);
}

/* The value that says a URI: that of key, or of KEY_file (then *ret_file), whichever came later.
 * NULL when there is none, or both in one place; err says it. */
static const struct ph_value *choose_uri(struct ph_settings_load *load, const char *key,
                                         bool *ret_file, struct ph_error *err)
{
    char file_key[32];
    (void)snprintf(file_key, sizeof file_key, "%s_file", key);
    size_t text_layer = 0, file_layer = 0;
    const struct ph_value *text = find_value(load, key, &text_layer);
    const struct ph_value *file = find_value(load, file_key, &file_layer);
    if (!text && !file) {
        (void)fail_no_uri(load, key, err);
        return NULL;
    }
    *ret_file = file_layer > text_layer;
    ph__settings_mark(load, *ret_file ? file : text);
    if (file_layer == text_layer) {
        (void)ph_fail(err, PH_E_CONFIG, "%s and %s: give one of the two", key, file_key);
        return NULL;
    }
    return *ret_file ? file : text;
}

/* The text of a URI that a value says, or the file that it names. */
static int read_uri(const struct ph_value *value, bool file, struct ph_buf *out,
                    struct ph_error *err)
{
    if (!file) {
        ph_buf_puts(out, value->value);
        return ph_buf_check(out, "a URI", err);
    }
    int rc = ph_secret_read(value->value, out, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "%s", value->key);
    }
    return rc;
}

/* The URI of a side: the word, or source.uri of a layer, or the content of source.uri_file. A copy;
 * NULL when there is none, which has been said. */
static char *take_uri(struct ph_settings_load *load, const char *word, const char *option,
                      const char *key)
{
    if (word) {
        ph__settings_keep(load, key, ph_str_from(word), option);
        return ph_mem_strdup(word);
    }
    struct ph_error err = {0};
    struct ph_buf text;
    bool file = false;
    char *copy = NULL;
    ph_buf_init(&text, 2 * PH_SECRET_BYTES_MAX);
    const struct ph_value *value = choose_uri(load, key, &file, &err);
    if (!value || read_uri(value, file, &text, &err) < 0) {
        ph__settings_report_error(load, &err);
    } else {
        ph__settings_keep(load, key, ph_buf_str(&text), value->origin);
        copy = ph_mem_strdup(ph_buf_text(&text));
    }
    ph_buf_free(&text);
    return copy;
}

static void keep_words(struct ph_settings_load *load, const struct ph_settings_args *args)
{
    struct ph_settings *settings = load->settings;
    if (args->where && !args->from) {
        ph_buf_printf(&load->mark, "%s: ", args->where);
    }
    check_name(load, args->where && !args->from ? "pipelines" : "--name");
    settings->name = ph_mem_strdup(load->name);
    settings->from = take_uri(load, args->from, "--from", "source.uri");
    if (settings->from) {
        set_source(load, args->from ? "--from" : "source.uri", settings->from);
    }
    ph__settings_mark(load, NULL);
    settings->to = take_uri(load, args->to, "--to", "sink.uri");
    if (settings->to) {
        set_sink(load, args->to ? "--to" : "sink.uri", settings->to);
    }
    ph__settings_mark(load, NULL);
    if (!settings->name || ((!settings->from || !settings->to) && load->code == 0)) {
        ph__settings_report(load, PH_E_NOMEM, "out of memory");
    }
    settings->pipeline.name = settings->name;
    settings->pipeline.from = settings->from;
    settings->pipeline.to = settings->to;
    settings->pipeline.once = args->once;
}

/* --- room and defaults -------------------------------------------------------------------------
 */

static void *new_config(struct ph_settings_load *load, size_t size)
{
    void *config = ph_mem_zero(1, size ? size : 1);
    if (!config) {
        ph__settings_report(load, PH_E_NOMEM, "out of memory");
    }
    return config;
}

static void set_defaults(struct ph_settings_load *load)
{
    struct ph_settings *settings = load->settings;
    struct ph_pipeline_config *pipeline = &settings->pipeline;
    if (pipeline->source) {
        settings->source_config = new_config(load, pipeline->source->config_size);
    }
    if (pipeline->sink) {
        settings->sink_config = new_config(load, pipeline->sink->config_size);
    }
    load->families[PH_FAMILY_PIPELINE].config = &pipeline->options;
    load->families[PH_FAMILY_SOURCE].config = settings->source_config;
    load->families[PH_FAMILY_SINK].config = settings->sink_config;
    load->families[PH_FAMILY_ROUTE].config = &settings->route;
    load->families[PH_FAMILY_MATCH].config = &settings->match;
    load->families[PH_FAMILY_RETRY].config = &pipeline->retry;
    pipeline->match = &settings->match;
    pipeline->source_config = settings->source_config;
    pipeline->sink_config = settings->sink_config;
    pipeline->route = &settings->route;
    for (size_t i = 0; i < PH_FAMILY_COUNT; i++) {
        struct ph_settings_family *family = &load->families[i];
        struct ph_error err = {0};
        if (family->table && family->config &&
            ph_options_defaults(family->table, family->config, &err) < 0) {
            ph__settings_report_error(load, &err);
        }
    }
}

/* --- what only all of it together can tell -----------------------------------------------------
 */

static void check_start(struct ph_settings_load *load)
{
    struct ph_pipeline_config *pipeline = &load->settings->pipeline;
    struct ph_error err = {0};
    ph__settings_mark(load, find_value(load, "start", NULL));
    if (pipeline->options.start &&
        ph_start_parse(ph_str_from(pipeline->options.start), &pipeline->start, &err) < 0) {
        ph__settings_report_error(load, &err);
    }
}

/* A guarantee that the sink cannot keep is refused. */
static void check_delivery(struct ph_settings_load *load)
{
    const struct ph_pipeline_config *pipeline = &load->settings->pipeline;
    struct ph_error err = {0};
    if (pipeline->options.delivery == PH_EXACTLY_ONCE && pipeline->sink &&
        !(pipeline->sink->caps & PH_SINK_CHECKPOINT)) {
        ph__settings_mark(load, find_value(load, "delivery", NULL));
        (void)ph_fail(&err, PH_E_CONFIG,
                      "delivery: a sink of kind %s cannot store the checkpoint together with the "
                      "events, which exactly-once needs; set it to at-least-once",
                      pipeline->sink->name);
        ph__settings_report_error(load, &err);
    }
}

/* The first value of the route, for a mistake that none of them makes alone. */
static const struct ph_value *find_route_value(const struct ph_settings_load *load)
{
    const struct ph_values *given = &load->settings->given;
    for (size_t i = 0; i < given->count; i++) {
        if (strncmp(given->items[i].key, "route.", 6) == 0) {
            return &given->items[i];
        }
    }
    return NULL;
}

/* What several shards cannot keep. */
static void check_shards(struct ph_settings_load *load, const struct ph_route *route)
{
    const struct ph_sink_driver *sink = load->settings->pipeline.sink;
    struct ph_error err = {0};
    if (!ph_route_keeps_shards(route)) {
        (void)ph_fail(&err, PH_E_CONFIG,
                      "route.key: shards are cut by aggregate_id, so the key must contain "
                      "{aggregate_id} (or be empty); otherwise set shards to 1");
        ph__settings_report_error(load, &err);
    }
    if (sink && !(sink->caps & PH_SINK_RECORDS)) {
        (void)ph_fail(&err, PH_E_CONFIG, "shards: a sink of kind %s has one writer; set it to 1",
                      sink->name);
        ph__settings_report_error(load, &err);
    }
}

static void check_route(struct ph_settings_load *load)
{
    struct ph_error err = {0};
    struct ph_route *route = NULL;
    ph__settings_mark(load, load->args->where ? find_route_value(load) : NULL);
    if (ph_route_new(&load->settings->route, &route, &err) < 0) {
        ph__settings_report_error(load, &err);
    } else if (load->settings->pipeline.options.shards > 1) {
        check_shards(load, route);
    }
    ph_route_free(route);
}

static void load_all(struct ph_settings_load *load, const struct ph_settings_args *args)
{
    keep_words(load, args);
    set_defaults(load);
    if (load->code == PH_E_NOMEM) {
        return;
    }
    for (size_t i = 0; i < args->layer_count; i++) {
        ph__settings_assign_layer(load, args->layers[i], true);
        ph__settings_assign_layer(load, args->layers[i], false);
    }
    for (size_t i = 0; i < args->assignment_count; i++) {
        ph__settings_assign_word(load, args->assignments[i]);
    }
    check_start(load);
    check_delivery(load);
    check_route(load);
}

int ph_settings_load(struct ph_settings *settings, const struct ph_settings_args *args,
                     struct ph_buf *problems)
{
    struct ph_settings_load load = {
        .settings = settings,
        .args = args,
        .problems = problems,
        .name = args->name ? args->name : PH_PIPELINE_NAME_DEFAULT,
        .families = {[PH_FAMILY_PIPELINE] = {"", ph_pipeline_option_table, NULL},
                     [PH_FAMILY_SOURCE] = {"source", NULL, NULL},
                     [PH_FAMILY_SINK] = {"sink", NULL, NULL},
                     [PH_FAMILY_ROUTE] = {"route", ph_route_options, NULL},
                     [PH_FAMILY_MATCH] = {"match", ph_match_options, NULL},
                     [PH_FAMILY_RETRY] = {"retry", ph_retry_option_table, NULL}},
    };
    ph_buf_init(&load.mark, 4096);
    load_all(&load, args);
    ph_buf_free(&load.mark);
    return load.code;
}

/* What was set last for each key of a is what was set last in b. */
static bool holds_in(const struct ph_values *a, const struct ph_values *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const char *name = a->items[i].pipeline, *key = a->items[i].key;
        const struct ph_value *mine = ph_values_find(a, name, key);
        const struct ph_value *theirs = ph_values_find(b, name, key);
        if (!theirs || strcmp(mine->value, theirs->value) != 0) {
            return false;
        }
    }
    return true;
}

bool ph_settings_same(const struct ph_settings *a, const struct ph_settings *b)
{
    return holds_in(&a->given, &b->given) && holds_in(&b->given, &a->given) &&
           a->pipeline.once == b->pipeline.once;
}

void ph_settings_free(struct ph_settings *settings)
{
    const struct ph_pipeline_config *pipeline = &settings->pipeline;
    if (pipeline->source && settings->source_config) {
        ph_options_free(pipeline->source->options, settings->source_config);
    }
    if (pipeline->sink && settings->sink_config) {
        ph_options_free(pipeline->sink->options, settings->sink_config);
    }
    ph_options_free(ph_pipeline_option_table, &settings->pipeline.options);
    ph_options_free(ph_match_options, &settings->match);
    ph_route_config_free(&settings->route);
    ph_values_free(&settings->given);
    ph_mem_free(settings->source_config);
    ph_mem_free(settings->sink_config);
    ph_mem_free(settings->name);
    ph_mem_free(settings->from);
    ph_mem_free(settings->to);
    *settings = (struct ph_settings){0};
}
