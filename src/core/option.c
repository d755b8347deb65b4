/*
 * Option tables: one row feeds the parser, the messages and the help text. The configuration layer
 * finds the table a key belongs to; this file types the value and stores it at the row's offset.
 * Promise: a refused value changes nothing, and its message names the option, the value and what
 * was expected (the value of a string or a map never: it may be a secret).
 */
#include "core/option.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/sys.h"

static const char map_mark[] = ".*";

static bool is_end(const struct ph_option *row)
{
    return row->name == NULL;
}

static void *value_at(const struct ph_option *row, void *config)
{
    return (char *)config + row->offset;
}

/* The row's name without the mark of a map. */
static struct ph_str plain_name(const struct ph_option *row)
{
    struct ph_str name = ph_str_from(row->name);
    if (row->type == PH_OPT_MAP) {
        assert(name.len > sizeof map_mark - 1);
        name.len -= sizeof map_mark - 1;
        assert(memcmp(name.ptr + name.len, map_mark, sizeof map_mark) == 0);
    }
    return name;
}

/* The key below a map's name, len 0 when name is not one. */
static struct ph_str map_key(const struct ph_option *row, struct ph_str name)
{
    struct ph_str map = plain_name(row);
    if (!ph_str_starts(name, map) || name.len < map.len + 2 || name.ptr[map.len] != '.') {
        return (struct ph_str){NULL, 0};
    }
    return (struct ph_str){name.ptr + map.len + 1, name.len - map.len - 1};
}

static bool row_takes(const struct ph_option *row, struct ph_str name)
{
    return row->type == PH_OPT_MAP ? map_key(row, name).len > 0 : ph_str_is(name, row->name);
}

/* --- choices ---------------------------------------------------------------------------------- */

/* Cuts the next '|'-separated word off rest; false when there is none. */
static bool next_choice(struct ph_str *rest, struct ph_str *word)
{
    if (!rest->ptr) {
        return false;
    }
    const char *bar = memchr(rest->ptr, '|', rest->len);
    size_t len = bar ? (size_t)(bar - rest->ptr) : rest->len;
    *word = (struct ph_str){rest->ptr, len};
    *rest = bar ? (struct ph_str){bar + 1, rest->len - len - 1} : (struct ph_str){NULL, 0};
    return true;
}

/* The index of a word among the choices, or -1. */
static int choice_index(const char *choices, struct ph_str value)
{
    assert(choices);
    struct ph_str rest = ph_str_from(choices), word;
    for (int i = 0; next_choice(&rest, &word); i++) {
        if (ph_str_eq(word, value)) {
            return i;
        }
    }
    return -1;
}

/* --- messages --------------------------------------------------------------------------------- */

#define NAME_TEXT_MAX 256

struct name_text {
    char text[NAME_TEXT_MAX];
};

/* "prefix.name", cut when longer than any real one. */
static struct name_text full_name(const char *prefix, struct ph_str name)
{
    struct name_text full;
    int len = name.len < NAME_TEXT_MAX ? (int)name.len : NAME_TEXT_MAX;
    (void)snprintf(full.text, sizeof full.text, "%s%s%.*s", prefix, *prefix ? "." : "", len,
                   name.ptr ? name.ptr : "");
    return full;
}

static const char *expected(enum ph_option_type type)
{
    switch (type) {
    case PH_OPT_INT:
        return "a whole number";
    case PH_OPT_BOOL:
        return "true or false";
    case PH_OPT_DURATION:
        return "a time with a unit, such as 100ms, 5s, 2m, 1h";
    case PH_OPT_SIZE:
        return "a number of bytes, such as 4096, 64KiB, 16MiB";
    case PH_OPT_ENUM:
        return "one of";
    case PH_OPT_STRING:
    case PH_OPT_MAP:
        break;
    }
    return "text";
}

static int refuse_value(const struct ph_option *row, const char *prefix, struct ph_str value,
                        struct ph_error *err)
{
    struct name_text name = full_name(prefix, ph_str_from(row->name));
    return ph_fail(err, PH_E_CONFIG, "%s: \"%.*s\" is not valid; expected %s%s%s", name.text,
                   PH_STR_ARG(value), expected(row->type), row->choices ? " " : "",
                   row->choices ? row->choices : "");
}

/* A bound as a person would write it: 5000 ms as 5s, 1048576 bytes as 1MiB. */
static struct name_text bound_text(enum ph_option_type type, int64_t value)
{
    static const struct {
        enum ph_option_type type;
        const char *name;
        int64_t size;
    } units[] = {
        {PH_OPT_DURATION, "d", 86400000},
        {PH_OPT_DURATION, "h", 3600000},
        {PH_OPT_DURATION, "m", 60000},
        {PH_OPT_DURATION, "s", 1000},
        {PH_OPT_DURATION, "ms", 1},
        {PH_OPT_SIZE, "GiB", INT64_C(1) << 30},
        {PH_OPT_SIZE, "MiB", 1 << 20},
        {PH_OPT_SIZE, "KiB", 1 << 10},
        {PH_OPT_SIZE, "", 1},
        {PH_OPT_INT, "", 1},
    };
    struct name_text out = {""};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].type == type && value % units[i].size == 0) {
            (void)snprintf(out.text, sizeof out.text, "%" PRId64 "%s", value / units[i].size,
                           value ? units[i].name : "");
            break;
        }
    }
    return out;
}

static int refuse_range(const struct ph_option *row, const char *prefix, struct ph_str value,
                        struct ph_error *err)
{
    struct name_text name = full_name(prefix, ph_str_from(row->name));
    struct name_text min = bound_text(row->type, row->min);
    struct name_text max = bound_text(row->type, row->max);
    return ph_fail(err, PH_E_CONFIG, "%s: %.*s is out of range; it must be at least %s%s%s",
                   name.text, PH_STR_ARG(value), min.text, row->max ? " and at most " : "",
                   row->max ? max.text : "");
}

static int refuse_name(const struct ph_option *table, const char *prefix, struct ph_str name,
                       struct ph_error *err)
{
    const struct ph_option *nearest = NULL;
    unsigned best = 4; /* farther than that is no typing mistake */
    for (const struct ph_option *row = table; !is_end(row); row++) {
        unsigned distance = ph_str_distance(name, plain_name(row));
        if (distance < best) {
            best = distance;
            nearest = row;
        }
    }
    struct name_text full = full_name(prefix, name);
    if (!nearest) {
        return ph_fail(err, PH_E_CONFIG, "%s: unknown option", full.text);
    }
    return ph_fail(err, PH_E_CONFIG, "%s: unknown option (did you mean %s?)", full.text,
                   full_name(prefix, ph_str_from(nearest->name)).text);
}

/* --- values ----------------------------------------------------------------------------------- */

/* A terminated copy; PH_E_CONFIG when the text holds a zero byte. */
static int copy_text(struct ph_str value, char **ret, struct ph_error *err)
{
    if (value.len > 0 && memchr(value.ptr, '\0', value.len)) {
        return ph_fail(err, PH_E_CONFIG, "the value holds a zero byte");
    }
    char *copy = ph_mem_alloc(value.len + 1);
    if (!copy) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a value of %zu bytes", value.len);
    }
    if (value.len > 0) {
        memcpy(copy, value.ptr, value.len);
    }
    copy[value.len] = '\0';
    *ret = copy;
    return 0;
}

static int set_string(const struct ph_option *row, void *config, const char *prefix,
                      struct ph_str value, struct ph_error *err)
{
    char **at = value_at(row, config);
    char *copy = NULL;
    int rc = copy_text(value, &copy, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "%s", full_name(prefix, ph_str_from(row->name)).text);
        return rc;
    }
    ph_mem_free(*at);
    *at = copy;
    return 0;
}

/* The value slot of a key, a new one at the end when there is none yet; NULL when the map is full
 * or there is no memory. */
static char **map_slot(struct ph_option_map *map, struct ph_str key)
{
    for (size_t i = 0; i < map->count; i++) {
        if (ph_str_is(key, map->keys[i])) {
            return &map->values[i];
        }
    }
    char *copy = NULL;
    if (map->count == PH_OPTION_MAP_MAX || copy_text(key, &copy, NULL) < 0) {
        return NULL;
    }
    map->keys[map->count] = copy;
    map->values[map->count] = NULL;
    return &map->values[map->count++];
}

static int set_map(const struct ph_option *row, void *config, const char *prefix,
                   struct ph_str name, struct ph_str value, struct ph_error *err)
{
    struct ph_option_map *map = value_at(row, config);
    char *copy = NULL;
    int rc = copy_text(value, &copy, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "%s", full_name(prefix, name).text);
        return rc;
    }
    char **slot = map_slot(map, map_key(row, name));
    if (!slot) {
        ph_mem_free(copy);
        bool full = map->count == PH_OPTION_MAP_MAX;
        return full ? ph_fail(err, PH_E_CONFIG, "%s: more than %d options below %s",
                              full_name(prefix, name).text, PH_OPTION_MAP_MAX, row->name)
                    : ph_fail(err, PH_E_NOMEM, "%s: no memory", full_name(prefix, name).text);
    }
    ph_mem_free(*slot);
    *slot = copy;
    return 0;
}

static bool parse_number(enum ph_option_type type, struct ph_str value, int64_t *out)
{
    if (type == PH_OPT_DURATION) {
        return ph_str_duration_ms(value, out);
    }
    return type == PH_OPT_SIZE ? ph_str_size(value, out) : ph_str_i64(value, out);
}

static int set_number(const struct ph_option *row, void *config, const char *prefix,
                      struct ph_str value, struct ph_error *err)
{
    int64_t number = 0;
    if (!parse_number(row->type, value, &number)) {
        return refuse_value(row, prefix, value, err);
    }
    if (number < row->min || (row->max != 0 && number > row->max)) {
        return refuse_range(row, prefix, value, err);
    }
    *(int64_t *)value_at(row, config) = number;
    return 0;
}

static int set_enum(const struct ph_option *row, void *config, const char *prefix,
                    struct ph_str value, struct ph_error *err)
{
    int index = choice_index(row->choices, value);
    if (index < 0) {
        return refuse_value(row, prefix, value, err);
    }
    *(int *)value_at(row, config) = index;
    return 0;
}

static int set_bool(const struct ph_option *row, void *config, const char *prefix,
                    struct ph_str value, struct ph_error *err)
{
    bool on;
    if (!ph_str_bool(value, &on)) {
        return refuse_value(row, prefix, value, err);
    }
    *(bool *)value_at(row, config) = on;
    return 0;
}

static int set_row(const struct ph_option *row, void *config, const char *prefix,
                   struct ph_str name, struct ph_str value, struct ph_error *err)
{
    switch (row->type) {
    case PH_OPT_STRING:
        return set_string(row, config, prefix, value, err);
    case PH_OPT_INT:
    case PH_OPT_DURATION:
    case PH_OPT_SIZE:
        return set_number(row, config, prefix, value, err);
    case PH_OPT_BOOL:
        return set_bool(row, config, prefix, value, err);
    case PH_OPT_ENUM:
        return set_enum(row, config, prefix, value, err);
    case PH_OPT_MAP:
        break;
    }
    return set_map(row, config, prefix, name, value, err);
}

int ph_options_defaults(const struct ph_option *table, void *config, struct ph_error *err)
{
    assert(table && config);
    for (const struct ph_option *row = table; !is_end(row); row++) {
        assert(row->type != PH_OPT_MAP || !row->fallback);
        if (!row->fallback) {
            continue;
        }
        struct ph_str name = ph_str_from(row->name);
        int rc = set_row(row, config, "", name, ph_str_from(row->fallback), err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int ph_option_set(const struct ph_option *table, void *config, const char *prefix,
                  struct ph_str name, struct ph_str value, struct ph_error *err)
{
    assert(table && config && prefix);
    for (const struct ph_option *row = table; !is_end(row); row++) {
        if (row_takes(row, name)) {
            return set_row(row, config, prefix, name, value, err);
        }
    }
    return refuse_name(table, prefix, name, err);
}

static void free_map(struct ph_option_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        ph_mem_free(map->keys[i]);
        ph_mem_free(map->values[i]);
    }
    map->count = 0;
}

void ph_options_free(const struct ph_option *table, void *config)
{
    assert(table);
    for (const struct ph_option *row = table; config && !is_end(row); row++) {
        if (row->type == PH_OPT_STRING) {
            char **at = value_at(row, config);
            ph_mem_free(*at);
            *at = NULL;
        } else if (row->type == PH_OPT_MAP) {
            free_map(value_at(row, config));
        }
    }
}

static const char *type_word(const struct ph_option *row)
{
    static const char *const words[] = {
        [PH_OPT_STRING] = "TEXT",   [PH_OPT_INT] = "NUMBER", [PH_OPT_BOOL] = "BOOL",
        [PH_OPT_DURATION] = "TIME", [PH_OPT_SIZE] = "SIZE",  [PH_OPT_MAP] = "TEXT",
    };
    return row->type == PH_OPT_ENUM ? row->choices : words[row->type];
}

void ph_options_help(const struct ph_option *table, const char *prefix, struct ph_buf *out)
{
    assert(table && prefix && out);
    for (const struct ph_option *row = table; !is_end(row); row++) {
        char left[NAME_TEXT_MAX + 64];
        (void)snprintf(left, sizeof left, "%s=%s", full_name(prefix, ph_str_from(row->name)).text,
                       type_word(row));
        ph_buf_printf(out, "  %-36s %s", left, row->help ? row->help : "");
        if (row->fallback) {
            ph_buf_printf(out, " (default %s)", *row->fallback ? row->fallback : "empty");
        }
        ph_buf_putc(out, '\n');
    }
}

void ph_option_describe(const struct ph_option *row, struct ph_buf *out)
{
    assert(row && out);
    ph_buf_puts(out, expected(row->type));
    if (row->choices) {
        ph_buf_printf(out, " %s", row->choices);
    }
    if (row->max != 0) {
        ph_buf_printf(out, "; from %s to %s", bound_text(row->type, row->min).text,
                      bound_text(row->type, row->max).text);
    }
}

const char *ph_option_map_get(const struct ph_option_map *map, const char *key)
{
    assert(map && key);
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(map->keys[i], key) == 0) {
            return map->values[i];
        }
    }
    return NULL;
}
