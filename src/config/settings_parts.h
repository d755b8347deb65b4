/*
 * Inside settings: what its files share. settings.c knows the words and what only all values
 * together can tell; settings_assign.c finds the table of each key.
 */
#ifndef PH_CONFIG_SETTINGS_PARTS_H
#define PH_CONFIG_SETTINGS_PARTS_H

#include "config/settings.h"

#define PH_SETTINGS_WORD "--set" /* the origin of what stood on the command line */

/* One family of keys: "source.poll_max" is "poll_max" in the table of the family "source". */
struct ph_settings_family {
    const char *prefix; /* "" for the pipeline's own keys */
    const struct ph_option *table;
    void *config;
};

enum {
    PH_FAMILY_PIPELINE,
    PH_FAMILY_SOURCE,
    PH_FAMILY_SINK,
    PH_FAMILY_ROUTE,
    PH_FAMILY_MATCH,
    PH_FAMILY_RETRY,
    PH_FAMILY_COUNT
};

struct ph_settings_load {
    struct ph_settings *settings;
    const struct ph_settings_args *args;
    struct ph_buf *problems;
    struct ph_settings_family families[PH_FAMILY_COUNT];
    const char *name;   /* of the pipeline */
    struct ph_buf mark; /* in front of each mistake: where the value at fault came from */
    int code;           /* the first failure */
};

/* Adds a line to the problems, unless another pipeline met the same mistake in a value for all. */
void ph__settings_report(struct ph_settings_load *load, int code, const char *text);
void ph__settings_report_error(struct ph_settings_load *load, const struct ph_error *err);
/* From now on mistakes are those of this value; NULL: of the words. */
void ph__settings_mark(struct ph_settings_load *load, const struct ph_value *value);
/* Remembers what was set, for dump and for comparing. */
void ph__settings_keep(struct ph_settings_load *load, const char *key, struct ph_str value,
                       const char *origin);

/* One value "key=value" of --set. */
void ph__settings_assign_word(struct ph_settings_load *load, const char *text);
/* The values of a layer: those for all pipelines, or this one's own. */
void ph__settings_assign_layer(struct ph_settings_load *load, const struct ph_values *layer,
                               bool for_all);

#endif
