/*
 * Finds the option table that a key belongs to and gives it the value; the tables of core, route,
 * match and the two drivers do the typing.
 * Place: below settings.c. Promise: an unknown key is answered with the nearest known one; a secret
 * is read here and never named in a message.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "config/secret.h"
#include "config/settings_parts.h"
#include "config/uri.h"

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

/* "source" alone: a URI was written where its mapping belongs. */
static bool is_family(const struct ph_settings_load *load, struct ph_str key)
{
    for (size_t i = PH_FAMILY_PIPELINE + 1; i < PH_FAMILY_COUNT; i++) {
        if (ph_str_is(key, load->families[i].prefix)) {
            return true;
        }
    }
    return false;
}

/* A key of no family: which full name of any table did the person mean? */
static void report_unknown_key(struct ph_settings_load *load, struct ph_str key)
{
    struct nearest best = {.distance = 4};
    if (memchr(key.ptr, '@', key.len)) {
        key = PH_STR("***"); /* a URI where a key belongs */
    }
    for (size_t i = 0; i < PH_FAMILY_COUNT; i++) {
        const struct ph_settings_family *family = &load->families[i];
        for (const struct ph_option *row = family->table; row && row->name; row++) {
            consider(&best, key, family->prefix, row);
        }
    }
    struct ph_error err = {0};
    if (is_family(load, key)) {
        (void)ph_fail(&err, PH_E_CONFIG, "%.*s: expected a mapping of options, not one value",
                      PH_STR_ARG(key));
    } else if (best.name[0]) {
        (void)ph_fail(&err, PH_E_CONFIG, "unknown option %.*s (did you mean %s?)", PH_STR_ARG(key),
                      best.name);
    } else {
        (void)ph_fail(&err, PH_E_CONFIG,
                      "unknown option %.*s; options are the pipeline's own and source.*, sink.*, "
                      "match.*, route.*, retry.* (see posthorn help run)",
                      PH_STR_ARG(key));
    }
    ph__settings_report_error(load, &err);
}

/* The family of a key, and the rest of the key behind "family.". */
static struct ph_settings_family *family_of(struct ph_settings_load *load, struct ph_str key,
                                            struct ph_str *rest)
{
    for (size_t i = PH_FAMILY_PIPELINE + 1; i < PH_FAMILY_COUNT; i++) {
        size_t len = strlen(load->families[i].prefix);
        if (key.len > len + 1 && key.ptr[len] == '.' &&
            memcmp(key.ptr, load->families[i].prefix, len) == 0) {
            *rest = (struct ph_str){key.ptr + len + 1, key.len - len - 1};
            return &load->families[i];
        }
    }
    *rest = key;
    return memchr(key.ptr, '.', key.len) ? NULL : &load->families[PH_FAMILY_PIPELINE];
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
static bool known_elsewhere(const struct ph_settings_load *load,
                            const struct ph_settings_family *family, struct ph_str name)
{
    bool known = false;
    for (size_t i = 0; family == &load->families[PH_FAMILY_SOURCE] && ph_source_drivers[i]; i++) {
        known = known || find_row(ph_source_drivers[i]->options, name);
    }
    for (size_t i = 0; family == &load->families[PH_FAMILY_SINK] && ph_sink_drivers[i]; i++) {
        known = known || find_row(ph_sink_drivers[i]->options, name);
    }
    return known;
}

static int assign_in(struct ph_settings_load *load, const struct ph_settings_family *family,
                     struct ph_str name, struct ph_str value, struct ph_error *err)
{
    const struct ph_str rules = PH_STR("rules.");
    if (family == &load->families[PH_FAMILY_ROUTE] && ph_str_starts(name, rules)) {
        struct ph_str rule = {name.ptr + rules.len, name.len - rules.len};
        return ph_route_rule_set(family->config, rule, value, err);
    }
    return ph_option_set(family->table, family->config, family->prefix, name, value, err);
}

static bool is_table_row(const struct ph_option *row)
{
    return row && row->type != PH_OPT_MAP;
}

/* KEY_file where KEY is a secret: the file's content is the value of KEY, which takes the place of
 * *name. 1 when it was one, 0, or an error. */
static int read_secret(const struct ph_settings_family *family, struct ph_str *name,
                       struct ph_str value, struct ph_buf *out, struct ph_error *err)
{
    const struct ph_str end = PH_STR("_file");
    if (name->len <= end.len || memcmp(name->ptr + name->len - end.len, end.ptr, end.len) != 0) {
        return 0;
    }
    struct ph_str base = {name->ptr, name->len - end.len};
    if (is_table_row(find_row(family->table, *name)) || !find_row(family->table, base) ||
        !ph_name_is_secret(base)) {
        return 0;
    }
    struct ph_buf path;
    ph_buf_init(&path, 8192);
    ph_buf_put_str(&path, value);
    int rc = ph_buf_check(&path, "a path", err);
    rc = rc < 0 ? rc : ph_secret_read(ph_buf_text(&path), out, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "%s.%.*s", family->prefix, PH_STR_ARG(*name));
    }
    ph_buf_free(&path);
    *name = base;
    return rc < 0 ? rc : 1;
}

/* What stands on the command line can be read by every user of the machine. */
static bool shows_secret(struct ph_settings_load *load, struct ph_str key, const char *origin)
{
    if (strcmp(origin, PH_SETTINGS_WORD) != 0 || !ph_name_is_secret(key)) {
        return false;
    }
    struct ph_error err = {0};
    (void)ph_fail(&err, PH_E_CONFIG,
                  "%.*s would show a secret on the command line; use %.*s_file=PATH",
                  PH_STR_ARG(key), PH_STR_ARG(key));
    ph__settings_report_error(load, &err);
    return true;
}

/* One value, for this pipeline or (for_all) for every one. */
static void assign(struct ph_settings_load *load, struct ph_str key, struct ph_str value,
                   const char *origin, bool for_all)
{
    struct ph_error err = {0};
    struct ph_str name;
    if (shows_secret(load, key, origin)) {
        return;
    }
    struct ph_settings_family *family = family_of(load, key, &name);
    bool own = family == &load->families[PH_FAMILY_PIPELINE];
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
        ph__settings_report_error(load, &err);
    } else {
        ph_buf_printf(&full, "%s%s%.*s", family->prefix, own ? "" : ".", PH_STR_ARG(name));
        ph__settings_keep(load, ph_buf_text(&full), value, origin);
    }
    ph_buf_free(&secret);
    ph_buf_free(&full);
}

void ph__settings_assign_word(struct ph_settings_load *load, const char *text)
{
    struct ph_error err = {0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        (void)ph_fail(&err, PH_E_CONFIG, "--set %s: write it as KEY=VALUE",
                      ph_word_has_secret(ph_str_from(text)) ? "***" : text);
        ph__settings_report_error(load, &err);
        return;
    }
    assign(load, (struct ph_str){text, (size_t)(equals - text)}, ph_str_from(equals + 1),
           PH_SETTINGS_WORD, false);
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

void ph__settings_assign_layer(struct ph_settings_load *load, const struct ph_values *layer,
                               bool for_all)
{
    const char *wanted = for_all ? "" : load->name;
    for (size_t i = 0; i < layer->count; i++) {
        const struct ph_value *value = &layer->items[i];
        if (strcmp(value->pipeline, wanted) != 0 || is_uri_key(value->key)) {
            continue;
        }
        ph__settings_mark(load, value);
        assign(load, ph_str_from(value->key), ph_str_from(value->value), value->origin, for_all);
    }
    ph__settings_mark(load, NULL);
}
