/*
 * Turns --from, --to, --name and the --set list into one pipeline's configuration.
 * Place: between the command line and core; the option tables of core, route and the two drivers
 * do the typing, this file only finds the table a key belongs to.
 * Promise: every mistake is found in one pass and named in one line; nothing is opened.
 */
#include "config/settings.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "config/secret.h"
#include "config/uri.h"

/* One family of keys: "source.poll_max" is "poll_max" in the table of the family "source". */
struct family {
    const char *prefix; /* "" for the pipeline's own keys */
    const struct ph_option *table;
    void *config;
};

enum { FAMILY_PIPELINE, FAMILY_SOURCE, FAMILY_SINK, FAMILY_ROUTE, FAMILY_MATCH, FAMILY_COUNT };

struct load {
    struct ph_settings *settings;
    const struct ph_settings_args *args;
    struct ph_buf *problems;
    struct family families[FAMILY_COUNT];
    const char *name;   /* of the pipeline */
    struct ph_buf mark; /* in front of each mistake: where the value at fault came from */
    int code;           /* the first failure */
};

/* Adds a line, unless another pipeline met the same mistake in a value for all. */
static void report(struct load *load, int code, const char *text)
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

static void report_error(struct load *load, const struct ph_error *err)
{
    report(load, err->code, err->text);
}

/* From now on mistakes are those of this value; NULL: of the words. */
static void mark(struct load *load, const struct ph_value *value)
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

static void report_unknown_uri(struct load *load, const char *option, const char *uri,
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
    report_error(load, &err);
}

static void set_source(struct load *load, const char *option, const char *from)
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
    load->families[FAMILY_SOURCE].table = driver->options;
}

static void set_sink(struct load *load, const char *option, const char *to)
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
    load->families[FAMILY_SINK].table = driver->options;
}

static void check_name(struct load *load, const char *option)
{
    if (!name_ok(load->name)) {
        struct ph_error err = {0};
        (void)ph_fail(&err, PH_E_CONFIG,
                      "%s: \"%s\" must be 1 to %d letters, digits, '_', '.' or '-'", option,
                      load->name, PH_PIPELINE_NAME_MAX);
        report_error(load, &err);
    }
}

/* Remembers what was set, for dump and for comparing. */
static void keep(struct load *load, const char *key, struct ph_str value, const char *origin)
{
    struct ph_error err = {0};
    int rc = ph_values_add(&load->settings->given, ph_str_from(load->name), ph_str_from(key), value,
                           origin, &err);
    if (rc < 0) {
        report_error(load, &err);
    }
}

/* The value of a key that holds: the last layer's, and there the pipeline's own. */
static const struct ph_value *find_value(const struct load *load, const char *key)
{
    for (size_t i = load->args->layer_count; i > 0; i--) {
        const struct ph_values *layer = load->args->layers[i - 1];
        const struct ph_value *own = ph_values_find(layer, load->name, key);
        const struct ph_value *all = own ? own : ph_values_find(layer, "", key);
        if (all) {
            return all;
        }
    }
    return NULL;
}

/* The URI of a side: the word, or source.uri of a layer, or the content of source.uri_file. A copy;
 * NULL when there is none, which has been said. */
static char *take_uri(struct load *load, const char *word, const char *option, const char *key)
{
    if (word) {
        keep(load, key, ph_str_from(word), option);
        return ph_mem_strdup(word);
    }
    char file_key[32];
    (void)snprintf(file_key, sizeof file_key, "%s_file", key);
    const struct ph_value *value = find_value(load, key), *file = find_value(load, file_key);
    struct ph_error err = {0};
    struct ph_buf text;
    ph_buf_init(&text, 2 * PH_SECRET_BYTES_MAX);
    int rc = 0;
    mark(load, value ? value : file);
    if (value) {
        ph_buf_puts(&text, value->value);
    } else if (file) {
        rc = ph_secret_read(file->value, &text, &err);
        rc = rc < 0 ? ph_fail_prefix(&err, "%s", file_key) : rc;
    } else {
        rc = ph_fail(&err, PH_E_CONFIG, "%s: pipelines.%s: %s is missing", load->args->where,
                     load->name, key);
    }
    char *copy = rc == 0 ? ph_mem_strdup(ph_buf_text(&text)) : NULL;
    if (rc < 0) {
        report_error(load, &err);
    } else {
        keep(load, key, ph_buf_str(&text), value ? value->origin : file->origin);
    }
    ph_buf_free(&text);
    return copy;
}

static void keep_words(struct load *load, const struct ph_settings_args *args)
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
    mark(load, NULL);
    settings->to = take_uri(load, args->to, "--to", "sink.uri");
    if (settings->to) {
        set_sink(load, args->to ? "--to" : "sink.uri", settings->to);
    }
    mark(load, NULL);
    if (!settings->name || ((!settings->from || !settings->to) && load->code == 0)) {
        report(load, PH_E_NOMEM, "out of memory");
    }
    settings->pipeline.name = settings->name;
    settings->pipeline.from = settings->from;
    settings->pipeline.to = settings->to;
    settings->pipeline.once = args->once;
}

/* --- room and defaults -------------------------------------------------------------------------
 */

static void *new_config(struct load *load, size_t size)
{
    void *config = ph_mem_zero(1, size ? size : 1);
    if (!config) {
        report(load, PH_E_NOMEM, "out of memory");
    }
    return config;
}

static void set_defaults(struct load *load)
{
    struct ph_settings *settings = load->settings;
    struct ph_pipeline_config *pipeline = &settings->pipeline;
    if (pipeline->source) {
        settings->source_config = new_config(load, pipeline->source->config_size);
    }
    if (pipeline->sink) {
        settings->sink_config = new_config(load, pipeline->sink->config_size);
    }
    load->families[FAMILY_PIPELINE].config = &pipeline->options;
    load->families[FAMILY_SOURCE].config = settings->source_config;
    load->families[FAMILY_SINK].config = settings->sink_config;
    load->families[FAMILY_ROUTE].config = &settings->route;
    load->families[FAMILY_MATCH].config = &settings->match;
    pipeline->match = &settings->match;
    pipeline->source_config = settings->source_config;
    pipeline->sink_config = settings->sink_config;
    pipeline->route = &settings->route;
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        struct family *family = &load->families[i];
        struct ph_error err = {0};
        if (family->table && family->config &&
            ph_options_defaults(family->table, family->config, &err) < 0) {
            report_error(load, &err);
        }
    }
}

/* --- assignments -------------------------------------------------------------------------------
 */

static const char map_mark[] = ".*";

/* The length of a row's name without the mark of a map. */
static size_t plain_len(const char *name)
{
    size_t len = strlen(name);
    size_t mark = sizeof map_mark - 1;
    return len > mark && strcmp(name + len - mark, map_mark) == 0 ? len - mark : len;
}

struct nearest {
    unsigned distance;
    char name[128];
};

static void consider(struct nearest *best, struct ph_str key, const char *prefix,
                     const struct ph_option *row)
{
    char name[sizeof best->name];
    struct ph_buf full;
    ph_buf_init(&full, sizeof name);
    ph_buf_printf(&full, "%s%s%.*s", prefix, *prefix ? "." : "", (int)plain_len(row->name),
                  row->name);
    unsigned distance = ph_str_distance(key, ph_buf_str(&full));
    if (!full.failed && full.len < sizeof best->name && distance < best->distance) {
        best->distance = distance;
        memcpy(best->name, ph_buf_text(&full), full.len + 1);
    }
    ph_buf_free(&full);
}

/* A key of no family: which full name of any table did the person mean? */
static void report_unknown_key(struct load *load, struct ph_str key)
{
    struct nearest best = {.distance = 4};
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        const struct family *family = &load->families[i];
        for (const struct ph_option *row = family->table; row && row->name; row++) {
            consider(&best, key, family->prefix, row);
        }
    }
    struct ph_error err = {0};
    if (best.name[0]) {
        (void)ph_fail(&err, PH_E_CONFIG, "unknown option %.*s (did you mean %s?)", PH_STR_ARG(key),
                      best.name);
    } else {
        (void)ph_fail(&err, PH_E_CONFIG,
                      "unknown option %.*s; options are the pipeline's own and source.*, sink.*, "
                      "route.* (see posthorn help run)",
                      PH_STR_ARG(key));
    }
    report_error(load, &err);
}

/* The family of a key, and the rest of the key behind "family.". */
static struct family *family_of(struct load *load, struct ph_str key, struct ph_str *rest)
{
    for (size_t i = FAMILY_PIPELINE + 1; i < FAMILY_COUNT; i++) {
        size_t len = strlen(load->families[i].prefix);
        if (key.len > len + 1 && key.ptr[len] == '.' &&
            memcmp(key.ptr, load->families[i].prefix, len) == 0) {
            *rest = (struct ph_str){key.ptr + len + 1, key.len - len - 1};
            return &load->families[i];
        }
    }
    *rest = key;
    return memchr(key.ptr, '.', key.len) ? NULL : &load->families[FAMILY_PIPELINE];
}

/* The row that takes a name, also one below a map; NULL when none does. */
static const struct ph_option *find_row(const struct ph_option *table, struct ph_str name)
{
    for (const struct ph_option *row = table; row && row->name; row++) {
        size_t len = plain_len(row->name);
        bool below = name.len > len + 1 && name.ptr[len] == '.';
        if (row->type == PH_OPT_MAP ? below && memcmp(name.ptr, row->name, len) == 0
                                    : ph_str_is(name, row->name)) {
            return row;
        }
    }
    return NULL;
}

/* Whether a driver that this pipeline does not use has such an option: then a value for all
 * pipelines is meant for others. */
static bool known_elsewhere(const struct load *load, const struct family *family,
                            struct ph_str name)
{
    bool known = false;
    for (size_t i = 0; family == &load->families[FAMILY_SOURCE] && ph_source_drivers[i]; i++) {
        known = known || find_row(ph_source_drivers[i]->options, name);
    }
    for (size_t i = 0; family == &load->families[FAMILY_SINK] && ph_sink_drivers[i]; i++) {
        known = known || find_row(ph_sink_drivers[i]->options, name);
    }
    return known;
}

static int assign_in(struct load *load, const struct family *family, struct ph_str name,
                     struct ph_str value, struct ph_error *err)
{
    const struct ph_str rules = PH_STR("rules.");
    if (family == &load->families[FAMILY_ROUTE] && ph_str_starts(name, rules)) {
        struct ph_str rule = {name.ptr + rules.len, name.len - rules.len};
        return ph_route_rule_set(family->config, rule, value, err);
    }
    return ph_option_set(family->table, family->config, family->prefix, name, value, err);
}

/* KEY_file where KEY is a secret of the table: its content is the value of KEY. Below a map the
 * driver reads the file, and only its place is found here. 1 when it was one, 0, or an error. */
static int read_secret(const struct family *family, struct ph_str *name, struct ph_str value,
                       struct ph_buf *out, struct ph_error *err)
{
    const struct ph_str end = PH_STR("_file");
    if (name->len <= end.len || memcmp(name->ptr + name->len - end.len, end.ptr, end.len) != 0) {
        return 0;
    }
    struct ph_str base = {name->ptr, name->len - end.len};
    const struct ph_option *row = find_row(family->table, *name);
    if (row && row->type == PH_OPT_MAP && ph_name_is_secret(base)) {
        PH_CLEANUP(ph_cleanup_mem) char *path = ph_mem_zero(1, value.len + 1);
        if (!path) {
            return ph_fail(err, PH_E_NOMEM, "out of memory");
        }
        memcpy(path, value.ptr, value.len);
        ph_secret_path(path, out);
        return 1;
    }
    if (row || !find_row(family->table, base) || !ph_name_is_secret(base)) {
        return 0;
    }
    PH_CLEANUP(ph_cleanup_mem) char *path = ph_mem_zero(1, value.len + 1);
    if (!path) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    memcpy(path, value.ptr, value.len);
    *name = base;
    int rc = ph_secret_read(path, out, err);
    return rc < 0 ? rc : 1;
}

/* One value, for this pipeline or (for_all) for every one. */
static void assign(struct load *load, struct ph_str key, struct ph_str value, const char *origin,
                   bool for_all)
{
    struct ph_error err = {0};
    struct ph_str name;
    struct family *family = family_of(load, key, &name);
    bool own = family == &load->families[FAMILY_PIPELINE];
    if (!family || (own && !find_row(family->table, name))) {
        report_unknown_key(load, key);
        return;
    }
    if (!family->table || !family->config ||
        (for_all && !find_row(family->table, name) && known_elsewhere(load, family, name))) {
        return; /* the driver is unknown, which has been said; or it is another's option */
    }
    struct ph_buf secret, full;
    ph_buf_init(&secret, 2 * PH_SECRET_BYTES_MAX);
    ph_buf_init(&full, 4096);
    int rc = read_secret(family, &name, value, &secret, &err);
    value = rc == 1 ? ph_buf_str(&secret) : value;
    rc = rc < 0 ? rc : assign_in(load, family, name, value, &err);
    if (rc < 0) {
        report_error(load, &err);
    } else {
        ph_buf_printf(&full, "%s%s%.*s", family->prefix, own ? "" : ".", PH_STR_ARG(name));
        keep(load, ph_buf_text(&full), value, origin);
    }
    ph_buf_free(&secret);
    ph_buf_free(&full);
}

static void assign_word(struct load *load, const char *text)
{
    struct ph_error err = {0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        (void)ph_fail(&err, PH_E_CONFIG, "--set %s: write it as KEY=VALUE", text);
        report_error(load, &err);
        return;
    }
    assign(load, (struct ph_str){text, (size_t)(equals - text)}, ph_str_from(equals + 1), "--set",
           false);
}

static bool is_uri_key(const char *key)
{
    static const char *const keys[] = {"source.uri", "source.uri_file", "sink.uri",
                                       "sink.uri_file"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void assign_layer(struct load *load, const struct ph_values *layer, bool for_all)
{
    const char *wanted = for_all ? "" : load->name;
    for (size_t i = 0; i < layer->count; i++) {
        const struct ph_value *value = &layer->items[i];
        if (strcmp(value->pipeline, wanted) != 0 || is_uri_key(value->key)) {
            continue;
        }
        mark(load, value);
        assign(load, ph_str_from(value->key), ph_str_from(value->value), value->origin, for_all);
    }
    mark(load, NULL);
}

/* --- what only all of it together can tell -----------------------------------------------------
 */

static void check_start(struct load *load)
{
    struct ph_pipeline_config *pipeline = &load->settings->pipeline;
    struct ph_error err = {0};
    mark(load, find_value(load, "start"));
    if (pipeline->options.start &&
        ph_start_parse(ph_str_from(pipeline->options.start), &pipeline->start, &err) < 0) {
        report_error(load, &err);
    }
}

/* The first value of the route, for a mistake that none of them makes alone. */
static const struct ph_value *find_route_value(const struct load *load)
{
    const struct ph_values *given = &load->settings->given;
    for (size_t i = 0; i < given->count; i++) {
        if (strncmp(given->items[i].key, "route.", 6) == 0) {
            return &given->items[i];
        }
    }
    return NULL;
}

static void check_route(struct load *load)
{
    struct ph_error err = {0};
    struct ph_route *route = NULL;
    mark(load, load->args->where ? find_route_value(load) : NULL);
    if (ph_route_new(&load->settings->route, &route, &err) < 0) {
        report_error(load, &err);
    }
    ph_route_free(route);
}

static void load_all(struct load *load, const struct ph_settings_args *args)
{
    keep_words(load, args);
    set_defaults(load);
    if (load->code == PH_E_NOMEM) {
        return;
    }
    for (size_t i = 0; i < args->layer_count; i++) {
        assign_layer(load, args->layers[i], true);
        assign_layer(load, args->layers[i], false);
    }
    for (size_t i = 0; i < args->assignment_count; i++) {
        assign_word(load, args->assignments[i]);
    }
    check_start(load);
    check_route(load);
}

int ph_settings_load(struct ph_settings *settings, const struct ph_settings_args *args,
                     struct ph_buf *problems)
{
    struct load load = {
        .settings = settings,
        .args = args,
        .problems = problems,
        .name = args->name ? args->name : PH_PIPELINE_NAME_DEFAULT,
        .families = {[FAMILY_PIPELINE] = {"", ph_pipeline_option_table, NULL},
                     [FAMILY_SOURCE] = {"source", NULL, NULL},
                     [FAMILY_SINK] = {"sink", NULL, NULL},
                     [FAMILY_ROUTE] = {"route", ph_route_options, NULL},
                     [FAMILY_MATCH] = {"match", ph_match_options, NULL}},
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
