/*
 * Puts a daemon's configuration together: a file, the environment and --set are three layers of
 * values, from which every pipeline's settings are made.
 * Place: between the commands and settings.
 * Promise: all mistakes of all pipelines are found in one pass; nothing is opened but the file and
 * the secrets that it names.
 */
#include "config/config.h"

#include <string.h>

#include "base/sys.h"
#include "config/document.h"
#include "config/environment.h"
#include "config/file.h"
#include "config/uri.h"

enum { LAYER_FILE, LAYER_ENVIRONMENT, LAYER_WORDS, LAYER_COUNT };

struct loading {
    const struct ph_config_args *args;
    struct ph_config *config;
    struct ph_buf *problems;
    struct ph_values layers[LAYER_COUNT];
    struct ph_document_names names; /* of the pipelines */
    int code;                       /* the first failure */
};

static void report(struct loading *l, int code, const char *text)
{
    l->code = l->code == 0 ? code : l->code;
    ph_buf_printf(l->problems, "%s\n", text);
}

static void take_code(struct loading *l, int rc)
{
    l->code = l->code == 0 ? rc : l->code;
}

/* --- the file ----------------------------------------------------------------------------------
 */

static bool value_is_secret(const struct ph_value *value)
{
    return ph_name_is_secret(ph_str_from(value->key)) ||
           (ph_str_starts(ph_str_from(strrchr(value->key, '.') ? strrchr(value->key, '.') : ""),
                          PH_STR(".uri")) &&
            !ph_name_is_secret(ph_str_from(value->key)) && ph_uri_has_secret(value->value));
}

/* A file that everybody can read holds no secrets. */
static void check_mode(struct loading *l, mode_t mode)
{
    for (size_t i = 0; i < l->layers[LAYER_FILE].count && (mode & S_IROTH); i++) {
        const struct ph_value *value = &l->layers[LAYER_FILE].items[i];
        if (value_is_secret(value)) {
            struct ph_error err = {0};
            (void)ph_fail(&err, PH_E_CONFIG,
                          "%s: %s is a secret in a file that every user can read: chmod 640 %s, or "
                          "put it into a file of its own (%s_file)",
                          value->origin, value->key, l->args->path, value->key);
            report(l, err.code, err.text);
        }
    }
}

static void read_path(struct loading *l)
{
    const char *path = l->args->path;
    struct ph_error err = {0};
    struct ph_buf text;
    mode_t mode = 0;
    ph_buf_init(&text, PH_DOCUMENT_BYTES_MAX + 1);
    if (ph_config_file_read(path, PH_DOCUMENT_BYTES_MAX + 1, &text, &mode, &err) < 0) {
        report(l, err.code, err.text);
    } else {
        take_code(l, ph_document_parse(path, ph_buf_str(&text), &l->layers[LAYER_FILE], &l->names,
                                       l->problems));
        check_mode(l, mode);
    }
    ph_buf_free(&text);
}

/* --- --set with a file -------------------------------------------------------------------------
 */

/* The pipeline that a key begins with: the longest name that fits, as names may hold dots. */
static const char *name_in_front(const struct loading *l, struct ph_str key)
{
    const char *best = NULL;
    for (size_t i = 0; i < l->names.count; i++) {
        const char *name = l->names.names[i];
        size_t len = strlen(name);
        if (key.len > len + 1 && key.ptr[len] == '.' && memcmp(key.ptr, name, len) == 0 &&
            (!best || len > strlen(best))) {
            best = name;
        }
    }
    return best;
}

static void take_word(struct loading *l, const char *text)
{
    struct ph_error err = {0};
    const char *equals = strchr(text, '=');
    struct ph_str key = {text, equals ? (size_t)(equals - text) : 0};
    if (key.len == 0) {
        (void)ph_fail(&err, PH_E_CONFIG, "--set %s: write it as PIPELINE.KEY=VALUE",
                      ph_word_has_secret(ph_str_from(text)) ? "***" : text);
        report(l, err.code, err.text);
        return;
    }
    const char *name =
        key.len > 2 && key.ptr[0] == '*' && key.ptr[1] == '.' ? "*" : name_in_front(l, key);
    if (!name) {
        (void)ph_fail(&err, PH_E_CONFIG,
                      "--set %.*s: write it as PIPELINE.KEY=VALUE, or *.KEY=VALUE for all "
                      "pipelines; the file has no pipeline of such a name",
                      PH_STR_ARG(ph_word_has_secret(key) ? PH_STR("***") : key));
        report(l, err.code, err.text);
        return;
    }
    size_t skip = strlen(name) + 1;
    struct ph_str rest = {key.ptr + skip, key.len - skip};
    int rc = ph_values_add(&l->layers[LAYER_WORDS], ph_str_from(*name == '*' ? "" : name), rest,
                           ph_str_from(equals + 1), "--set", &err);
    if (rc < 0) {
        report(l, rc, err.text);
    }
}

/* --- pipelines ---------------------------------------------------------------------------------
 */

static void add_pipeline(struct loading *l, const struct ph_settings_args *args)
{
    struct ph_config *config = l->config;
    if (config->count == PH_CONFIG_PIPELINES_MAX) {
        report(l, PH_E_CONFIG, "more than 256 pipelines: give the rest a daemon of their own");
        return;
    }
    struct ph_settings *settings = ph_mem_zero(1, sizeof *settings);
    if (!settings) {
        report(l, PH_E_NOMEM, "out of memory");
        return;
    }
    config->pipelines[config->count++] = settings;
    take_code(l, ph_settings_load(settings, args, l->problems));
}

static void load_file(struct loading *l, const struct ph_values *const layers[LAYER_COUNT])
{
    for (size_t i = 0; i < l->args->assignment_count; i++) {
        take_word(l, l->args->assignments[i]);
    }
    for (size_t i = 0; i < l->names.count; i++) {
        const struct ph_settings_args args = {
            .name = l->names.names[i],
            .layers = layers,
            .layer_count = LAYER_COUNT,
            .where = l->args->path,
            .once = l->args->once,
        };
        add_pipeline(l, &args);
    }
    if (l->names.count == 0 && l->code == 0) {
        struct ph_error err = {0};
        (void)ph_fail(&err, PH_E_CONFIG,
                      "%s: has no pipeline; expected pipelines: {NAME: {source: {uri: ...}, "
                      "sink: {uri: ...}}}",
                      l->args->path);
        report(l, err.code, err.text);
    }
}

static void load_words(struct loading *l, const struct ph_values *const layers[LAYER_COUNT])
{
    const struct ph_settings_args args = {
        .from = l->args->from,
        .to = l->args->to,
        .name = l->args->name,
        .layers = layers,
        .layer_count = LAYER_COUNT,
        .assignments = l->args->assignments,
        .assignment_count = l->args->assignment_count,
        .once = l->args->once,
    };
    add_pipeline(l, &args);
}

int ph_config_load(const struct ph_config_args *args, struct ph_config *ret,
                   struct ph_buf *problems)
{
    *ret = (struct ph_config){.count = 0};
    struct loading l = {.args = args, .config = ret, .problems = problems};
    const struct ph_values *const layers[LAYER_COUNT] = {
        &l.layers[LAYER_FILE], &l.layers[LAYER_ENVIRONMENT], &l.layers[LAYER_WORDS]};
    if (args->path) {
        read_path(&l);
    }
    if (args->environ) {
        const struct ph_environment_args environment = {
            .environ = args->environ,
            .names = (const char *const *)l.names.names,
            .name_count = l.names.count,
        };
        take_code(&l, ph_environment_read(&environment, &l.layers[LAYER_ENVIRONMENT],
                                          &ret->disabled, problems));
    }
    if (args->path) {
        load_file(&l, layers);
    } else {
        load_words(&l, layers);
    }
    for (size_t i = 0; i < LAYER_COUNT; i++) {
        ph_values_free(&l.layers[i]);
    }
    ph_document_names_free(&l.names);
    return l.code;
}

void ph_config_free(struct ph_config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        if (config->pipelines[i]) {
            ph_settings_free(config->pipelines[i]);
            ph_mem_free(config->pipelines[i]);
        }
    }
    *config = (struct ph_config){.count = 0};
}
