/*
 * What a daemon runs: pipelines, each with where every value came from. Read from a file
 * (posthorn.yaml), the environment and --set, in that order, the later one winning; or from the
 * words of one `run --from --to`, which make one pipeline.
 */
#ifndef PH_CONFIG_CONFIG_H
#define PH_CONFIG_CONFIG_H

#include "config/settings.h"

#define PH_CONFIG_PIPELINES_MAX 256

/* Owns its settings, which are not moved while it lives; one that is NULL was taken by somebody,
 * who frees it with ph_settings_free and ph_mem_free. */
struct ph_config {
    struct ph_settings *pipelines[PH_CONFIG_PIPELINES_MAX];
    size_t count;
    bool disabled; /* OUTBOX_ENABLED=false: nothing is to be started */
};

struct ph_config_args {
    const char *path;               /* of the file; NULL = there is none */
    const char *from, *to, *name;   /* of the one pipeline without a file; else NULL */
    const char *const *assignments; /* "key=value" of --set; with a file "PIPELINE.key=value" or
                                       "*.key=value" */
    size_t assignment_count;
    char *const *environ; /* POSTHORN_...; NULL = none is looked at */
    bool once;
};

/* Reads all of it. Every mistake becomes one line in problems (file:line:column: what was found,
 * what was expected, did you mean); the answer is then the first mistake's code, PH_E_CONFIG as a
 * rule, and *ret is to be freed all the same. */
int ph_config_load(const struct ph_config_args *args, struct ph_config *ret,
                   struct ph_buf *problems) PH_MUST_CHECK;
void ph_config_free(struct ph_config *config);

/* Whether two pipelines would do the same: every effective value is equal. For a reload. */
bool ph_settings_same(const struct ph_settings *a, const struct ph_settings *b);

#endif
