/*
 * From the words of the command line, or the values of file, environment and --set, to one
 * pipeline's configuration: names, drivers, and every option through the tables of core, driver,
 * route and match.
 */
#ifndef PH_CONFIG_SETTINGS_H
#define PH_CONFIG_SETTINGS_H

#include "config/values.h"
#include "core/pipeline.h"

#define PH_PIPELINE_NAME_MAX     63
#define PH_PIPELINE_NAME_DEFAULT "default"

/* What a person said; nothing is owned. */
struct ph_settings_args {
    const char *from, *to, *name; /* name NULL = "default"; from, to NULL = they are in a layer */
    /* Each layer wins over those before it; in a layer a pipeline's own values win over those for
     * all pipelines. */
    const struct ph_values *const *layers;
    size_t layer_count;
    const char *where;              /* of the layers, for what is missing: the file's name */
    const char *const *assignments; /* "key=value", as given with --set; they win */
    size_t assignment_count;
    bool once;
};

/* Owns all that pipeline points to, itself included: it must not be moved. Zero-initialise it. */
struct ph_settings {
    struct ph_pipeline_config pipeline;
    struct ph_route_config route;
    struct ph_match_config match;
    void *source_config, *sink_config; /* of the drivers' config_size */
    char *from, *to, *name;
    struct ph_values given; /* what was set, secrets read, with its origins; the last one holds */
};

/* Reads all of args. Every mistake becomes one line in problems; the answer is then PH_E_CONFIG.
 * PH_E_NOMEM likewise leaves a line. Free settings in any case. */
int ph_settings_load(struct ph_settings *settings, const struct ph_settings_args *args,
                     struct ph_buf *problems) PH_MUST_CHECK;
void ph_settings_free(struct ph_settings *settings);

/* "earliest", "latest", an ISO 8601 time with a zone, or "after:TICK-POSITION". */
int ph_start_parse(struct ph_str text, struct ph_start *out, struct ph_error *err) PH_MUST_CHECK;

#endif
