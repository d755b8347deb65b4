/*
 * Finds the option that a variable means: the names of all options are known, so a variable is
 * compared with what each would be called, and nothing has to be guessed from underscores.
 * Place: the second of the three layers of a configuration.
 * Promise: a name that two pipelines or two options share is refused, not chosen.
 */
#include "config/environment.h"

#include <stdio.h>
#include <string.h>

#include "core/pipeline.h"

#define NAME_LEN_MAX 256

static const char prefix[] = "POSTHORN_";

/* Variables of Posthorn's own tools and tests, and POSTHORN_CONFIG, which the command reads. */
static const char *const reserved[] = {
    "POSTHORN_BUILD",        "POSTHORN_CACHE",  "POSTHORN_CONFIG",
    "POSTHORN_DEMO_SECONDS", "POSTHORN_KEEP",   "POSTHORN_TMP",
    "POSTHORN_RESULTS",      "POSTHORN_FAULTS", "POSTHORN_SEED",
};

/* What other products call it, and the option; a bare number gets the unit. */
static const struct {
    const char *name, *key, *unit;
} aliases[] = {
    {"OUTBOX_POLL_INTERVAL", "source.poll_max", "ms"},
    {"OUTBOX_BATCH_SIZE", "batch_events", ""},
    {"OUTBOX_RETENTION_DAYS", "source.retention", "d"},
};

struct reading {
    const struct ph_environment_args *args;
    struct ph_values *out;
    struct ph_buf *problems;
    int code;
};

/* A variable, cut at its '='. */
struct variable {
    char name[NAME_LEN_MAX];
    struct ph_str value;
};

/* What a variable's rest was found to mean. */
struct meaning {
    char key[NAME_LEN_MAX];
    size_t found; /* options of that name with different keys */
    char nearest[NAME_LEN_MAX];
    unsigned distance;
};

static void report(struct reading *r, int code, const char *name, const char *text)
{
    r->code = r->code == 0 ? code : r->code;
    ph_buf_printf(r->problems, "%s: %s\n", name, text);
}

static char variable_char(char c)
{
    if (c >= 'a' && c <= 'z') {
        return (char)(c - 'a' + 'A');
    }
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
}

/* "source.poll_max" as "SOURCE_POLL_MAX". */
static void variable_name(const char *text, char out[NAME_LEN_MAX])
{
    size_t len = 0;
    for (; text[len] && len + 1 < NAME_LEN_MAX; len++) {
        out[len] = variable_char(text[len]);
    }
    out[len] = '\0';
}

/* --- which option ------------------------------------------------------------------------------
 */

static void found(struct meaning *m, const char *key)
{
    if (m->found == 0 || strcmp(m->key, key) != 0) {
        m->found++;
    }
    (void)snprintf(m->key, sizeof m->key, "%s", key);
}

/* "LINGER_MS" below the map "sink.kafka" as "sink.kafka.linger.ms". */
static void found_below(struct meaning *m, const char *map, const char *rest)
{
    char key[NAME_LEN_MAX];
    int len = snprintf(key, sizeof key, "%s.%s", map, rest);
    for (int i = (int)strlen(map) + 1; i < len && i < NAME_LEN_MAX; i++) {
        char c = key[i] == '_' ? '.' : key[i];
        key[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    if (len > 5 && len < NAME_LEN_MAX && strcmp(key + len - 5, ".file") == 0) {
        key[len - 5] = '_'; /* KEY_file: no property's name ends in ".file" */
    }
    found(m, key);
}

/* Compares a variable's rest with the option of this key; a map takes all that begins like it. */
static void try_key(struct meaning *m, const char *rest, const char *key, bool map)
{
    char name[NAME_LEN_MAX];
    variable_name(key, name);
    size_t len = strlen(name);
    if (map && strncmp(rest, name, len) == 0 && rest[len] == '_' && rest[len + 1]) {
        found_below(m, key, rest + len + 1);
    } else if (!map && strcmp(rest, name) == 0) {
        found(m, key);
    }
    unsigned distance = ph_str_distance(ph_str_from(rest), ph_str_from(name));
    if (distance < m->distance) {
        m->distance = distance;
        (void)snprintf(m->nearest, sizeof m->nearest, "%s", name);
    }
}

static void try_table(struct meaning *m, const char *rest, const char *family,
                      const struct ph_option *table)
{
    for (const struct ph_option *row = table; row && row->name; row++) {
        char key[NAME_LEN_MAX];
        (void)snprintf(key, sizeof key, "%s%s%s", family, *family ? "." : "", row->name);
        bool map = row->type == PH_OPT_MAP;
        if (map) {
            key[strlen(key) - 2] = '\0'; /* ".*" */
        }
        try_key(m, rest, key, map);
    }
}

static void find_meaning(struct meaning *m, const char *rest)
{
    static const char *const uris[] = {"source.uri", "source.uri_file", "sink.uri",
                                       "sink.uri_file"};
    *m = (struct meaning){.distance = 3};
    for (size_t i = 0; i < sizeof uris / sizeof *uris; i++) {
        try_key(m, rest, uris[i], false);
    }
    try_table(m, rest, "", ph_pipeline_option_table);
    try_table(m, rest, "match", ph_match_options);
    try_table(m, rest, "route", ph_route_options);
    try_table(m, rest, "retry", ph_retry_option_table);
    for (size_t i = 0; ph_source_drivers[i]; i++) {
        try_table(m, rest, "source", ph_source_drivers[i]->options);
    }
    for (size_t i = 0; ph_sink_drivers[i]; i++) {
        try_table(m, rest, "sink", ph_sink_drivers[i]->options);
    }
}

/* --- which pipeline ----------------------------------------------------------------------------
 */

/* How many pipelines are called so in the environment; *ret is one of them. */
static size_t find_pipeline(const struct reading *r, const char *wanted, const char **ret)
{
    size_t count = 0;
    for (size_t i = 0; i < r->args->name_count; i++) {
        char name[NAME_LEN_MAX];
        variable_name(r->args->names[i], name);
        if (strcmp(name, wanted) == 0) {
            *ret = r->args->names[i];
            count++;
        }
    }
    return count;
}

/* The "__" behind the name of a pipeline, which may hold one itself: that of the longest name that
 * there is, else the first. *ret_count as of find_pipeline. */
static const char *find_gap(const struct reading *r, const char *rest, const char **ret,
                            size_t *ret_count)
{
    const char *best = NULL;
    for (const char *gap = strstr(rest, "__"); gap; gap = strstr(gap + 1, "__")) {
        char name[NAME_LEN_MAX];
        (void)snprintf(name, sizeof name, "%.*s", (int)(gap - rest), rest);
        size_t count = find_pipeline(r, name, ret);
        if (count > 0 || !best) {
            best = gap;
            *ret_count = count;
        }
    }
    return best;
}

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (strcmp(name, reserved[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Another's variable (Kubernetes makes POSTHORN_SERVICE_HOST, say) is no mistake. */
static bool looks_like_ours(const char *rest, const struct meaning *m)
{
    static const char *const families[] = {"SOURCE_", "SINK_", "ROUTE_", "MATCH_"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strncmp(rest, families[i], strlen(families[i])) == 0) {
            return true;
        }
    }
    return m->nearest[0] != '\0';
}

static void add(struct reading *r, const char *pipeline, const char *key, struct ph_str value,
                const char *name)
{
    struct ph_error err = {0};
    int rc = ph_values_add(r->out, ph_str_from(pipeline), ph_str_from(key), value, name, &err);
    if (rc < 0) {
        report(r, rc, name, err.text);
    }
}

static void report_unknown(struct reading *r, const char *name, const struct meaning *m)
{
    char text[2 * NAME_LEN_MAX];
    const char *hint = m->nearest[0] ? m->nearest : NULL;
    (void)snprintf(text, sizeof text, "no option is called so%s%s%s",
                   hint ? " (did you mean ..." : "", hint ? hint : "",
                   hint ? "?)" : "; posthorn config docs lists them");
    report(r, PH_E_CONFIG, name, text);
}

/* POSTHORN_..., of which rest is what follows. */
static void take_variable(struct reading *r, const struct variable *variable)
{
    const char *rest = variable->name + sizeof prefix - 1;
    const char *pipeline = "";
    size_t count = 0;
    const char *gap = find_gap(r, rest, &pipeline, &count);
    if (gap) {
        if (count != 1) {
            report(r, PH_E_CONFIG, variable->name,
                   count == 0 ? "there is no pipeline of that name; write it as "
                                "POSTHORN_PIPELINE__KEY, or POSTHORN_KEY for all pipelines"
                              : "several pipelines are called so here: use --set or the file");
            return;
        }
        rest = gap + 2;
    }
    struct meaning m;
    find_meaning(&m, rest);
    if (m.found > 1) {
        report(r, PH_E_CONFIG, variable->name, "several options are called so: use --set");
    } else if (m.found == 1) {
        add(r, pipeline, m.key, variable->value, variable->name);
    } else if (gap || looks_like_ours(rest, &m)) {
        report_unknown(r, variable->name, &m);
    }
}

/* --- aliases -----------------------------------------------------------------------------------
 */

static void take_alias(struct reading *r, const struct variable *variable, bool *disabled)
{
    bool on;
    if (strcmp(variable->name, "OUTBOX_ENABLED") == 0) {
        if (!ph_str_bool(variable->value, &on)) {
            report(r, PH_E_CONFIG, variable->name, "expected true or false");
            return;
        }
        *disabled = !on;
        return;
    }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        int64_t number;
        if (strcmp(variable->name, aliases[i].name) != 0) {
            continue;
        }
        char text[NAME_LEN_MAX];
        (void)snprintf(text, sizeof text, "%.*s%s", PH_STR_ARG(variable->value),
                       ph_str_i64(variable->value, &number) ? aliases[i].unit : "");
        add(r, "", aliases[i].key, ph_str_from(text), variable->name);
    }
}

/* Cuts "NAME=VALUE"; false for a name of more than NAME_LEN_MAX characters, which is not ours. */
static bool cut(const char *text, struct variable *out)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    if (len == 0 || len >= sizeof out->name) {
        return false;
    }
    memcpy(out->name, text, len);
    out->name[len] = '\0';
    out->value = ph_str_from(equals + 1);
    return true;
}

int ph_environment_read(const struct ph_environment_args *args, struct ph_values *out,
                        bool *ret_disabled, struct ph_buf *problems)
{
    struct reading r = {.args = args, .out = out, .problems = problems};
    struct variable variable;
    *ret_disabled = false;
    for (char *const *at = args->environ; *at; at++) { /* first, so that our own names win */
        if (strncmp(*at, "OUTBOX_", 7) == 0 && cut(*at, &variable)) {
            take_alias(&r, &variable, ret_disabled);
        }
    }
    for (char *const *at = args->environ; *at; at++) {
        if (strncmp(*at, prefix, sizeof prefix - 1) == 0 && cut(*at, &variable) &&
            !is_reserved(variable.name)) {
            take_variable(&r, &variable);
        }
    }
    return r.code;
}
