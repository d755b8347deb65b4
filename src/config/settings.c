/*
 * Turns --from, --to, --name and the --set list into one pipeline's configuration.
 * Place: between the command line and core; the option tables of core, route and the two drivers
 * do the typing, this file only finds the table a key belongs to.
 * Promise: every mistake is found in one pass and named in one line; nothing is opened.
 */
#include "config/settings.h"

#include "base/cleanup.h"
#include "config/uri.h"

/* One family of keys: "source.poll_max" is "poll_max" in the table of the family "source". */
struct family {
    const char *prefix; /* "" for the pipeline's own keys */
    const struct ph_option *table;
    void *config;
};

enum { FAMILY_PIPELINE, FAMILY_SOURCE, FAMILY_SINK, FAMILY_ROUTE, FAMILY_COUNT };

struct load {
    struct ph_settings *settings;
    struct ph_buf *problems;
    struct family families[FAMILY_COUNT];
    int code; /* the first failure */
};

static void report(struct load *load, int code, const char *text)
{
    if (load->code == 0) {
        load->code = code;
    }
    ph_buf_puts(load->problems, text);
    ph_buf_putc(load->problems, '\n');
}

static void report_error(struct load *load, const struct ph_error *err)
{
    report(load, err->code, err->text);
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
    (void)ph_fail(&err, PH_E_CONFIG, "--%s: unknown kind of URI \"%.*s\"; expected one of: %s",
                  option, PH_STR_ARG(scheme), ph_buf_text(names));
    ph_buf_free(names);
    report_error(load, &err);
}

static void set_source(struct load *load, const char *from)
{
    const struct ph_source_driver *driver = ph_source_find(from);
    if (!driver) {
        struct ph_buf names;
        ph_buf_init(&names, 1024);
        for (size_t i = 0; ph_source_drivers[i]; i++) {
            ph_buf_printf(&names, "%s%s", i ? ", " : "", ph_source_drivers[i]->name);
        }
        report_unknown_uri(load, "from", from, &names);
        return;
    }
    load->settings->pipeline.source = driver;
    load->families[FAMILY_SOURCE].table = driver->options;
}

static void set_sink(struct load *load, const char *to)
{
    const struct ph_sink_driver *driver = ph_sink_find(to);
    if (!driver) {
        struct ph_buf names;
        ph_buf_init(&names, 1024);
        for (size_t i = 0; ph_sink_drivers[i]; i++) {
            ph_buf_printf(&names, "%s%s", i ? ", " : "", ph_sink_drivers[i]->name);
        }
        report_unknown_uri(load, "to", to, &names);
        return;
    }
    load->settings->pipeline.sink = driver;
    load->families[FAMILY_SINK].table = driver->options;
}

static void set_name(struct load *load, const char *name)
{
    if (!name_ok(name)) {
        struct ph_error err = {0};
        (void)ph_fail(&err, PH_E_CONFIG,
                      "--name: \"%s\" must be 1 to %d letters, digits, '_', '.' or '-'", name,
                      PH_PIPELINE_NAME_MAX);
        report_error(load, &err);
    }
}

static void keep_words(struct load *load, const struct ph_settings_args *args)
{
    struct ph_settings *settings = load->settings;
    const char *name = args->name ? args->name : PH_PIPELINE_NAME_DEFAULT;
    set_name(load, name);
    set_source(load, args->from);
    set_sink(load, args->to);
    settings->name = ph_mem_strdup(name);
    settings->from = ph_mem_strdup(args->from);
    settings->to = ph_mem_strdup(args->to);
    if (!settings->name || !settings->from || !settings->to) {
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

static bool table_has(const struct ph_option *table, struct ph_str name)
{
    for (const struct ph_option *row = table; row && row->name; row++) {
        if (ph_str_is(name, row->name)) {
            return true;
        }
    }
    return false;
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

static void assign(struct load *load, const char *text)
{
    struct ph_error err = {0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        (void)ph_fail(&err, PH_E_CONFIG, "--set %s: write it as KEY=VALUE", text);
        report_error(load, &err);
        return;
    }
    struct ph_str key = {text, (size_t)(equals - text)};
    struct ph_str value = ph_str_from(equals + 1);
    struct ph_str name;
    struct family *family = family_of(load, key, &name);
    bool own = family == &load->families[FAMILY_PIPELINE];
    if (!family || (own && !table_has(family->table, name))) {
        report_unknown_key(load, key);
    } else if (family->table && family->config && assign_in(load, family, name, value, &err) < 0) {
        report_error(load, &err);
    } /* else the driver is unknown, which has been said */
}

/* --- what only all of it together can tell -----------------------------------------------------
 */

static void check_start(struct load *load)
{
    struct ph_pipeline_config *pipeline = &load->settings->pipeline;
    struct ph_error err = {0};
    if (pipeline->options.start &&
        ph_start_parse(ph_str_from(pipeline->options.start), &pipeline->start, &err) < 0) {
        report_error(load, &err);
    }
}

static void check_route(struct load *load)
{
    struct ph_error err = {0};
    struct ph_route *route = NULL;
    if (ph_route_new(&load->settings->route, &route, &err) < 0) {
        report_error(load, &err);
    }
    ph_route_free(route);
}

int ph_settings_load(struct ph_settings *settings, const struct ph_settings_args *args,
                     struct ph_buf *problems)
{
    struct load load = {
        .settings = settings,
        .problems = problems,
        .families = {[FAMILY_PIPELINE] = {"", ph_pipeline_option_table, NULL},
                     [FAMILY_SOURCE] = {"source", NULL, NULL},
                     [FAMILY_SINK] = {"sink", NULL, NULL},
                     [FAMILY_ROUTE] = {"route", ph_route_options, NULL}},
    };
    keep_words(&load, args);
    set_defaults(&load);
    if (load.code == PH_E_NOMEM) {
        return load.code;
    }
    for (size_t i = 0; i < args->assignment_count; i++) {
        assign(&load, args->assignments[i]);
    }
    check_start(&load);
    check_route(&load);
    return load.code;
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
    ph_route_config_free(&settings->route);
    ph_mem_free(settings->source_config);
    ph_mem_free(settings->sink_config);
    ph_mem_free(settings->name);
    ph_mem_free(settings->from);
    ph_mem_free(settings->to);
    *settings = (struct ph_settings){0};
}
