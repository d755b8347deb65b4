/*
 * From the words of the command line (later also of a configuration file) to one pipeline's
 * configuration: names, drivers, and every option through the tables of core, driver and route.
 */
#ifndef PH_CONFIG_SETTINGS_H
#define PH_CONFIG_SETTINGS_H

#include "core/pipeline.h"

#define PH_PIPELINE_NAME_MAX     63
#define PH_PIPELINE_NAME_DEFAULT "default"

/* What a person said; nothing is owned. */
struct ph_settings_args {
    const char *from, *to, *name;   /* name NULL = "default" */
    const char *const *assignments; /* "key=value", as given with --set */
    size_t assignment_count;
    bool once;
};

/* Owns all that pipeline points to, itself included: it must not be moved. Zero-initialise it. */
struct ph_settings {
    struct ph_pipeline_config pipeline;
    struct ph_route_config route;
    void *source_config, *sink_config; /* of the drivers' config_size */
    char *from, *to, *name;
};

/* Reads all of args. Every mistake becomes one line in problems; the answer is then PH_E_CONFIG.
 * PH_E_NOMEM likewise leaves a line. Free settings in any case. */
int ph_settings_load(struct ph_settings *settings, const struct ph_settings_args *args,
                     struct ph_buf *problems) PH_MUST_CHECK;
void ph_settings_free(struct ph_settings *settings);

/* "earliest", "latest", an ISO 8601 time with a zone, or "after:TICK-POSITION". */
int ph_start_parse(struct ph_str text, struct ph_start *out, struct ph_error *err) PH_MUST_CHECK;

#endif
