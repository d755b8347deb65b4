/*
 * The pipelines of one daemon: starts each in a lane, starts those that ended again, and takes over
 * a new configuration without touching the pipelines that did not change.
 */
#ifndef PH_CLI_SUPERVISOR_H
#define PH_CLI_SUPERVISOR_H

#include "config/config.h"

struct ph_supervisor_config {
    /* Reads the configuration, at the start and on SIGHUP; as ph_config_load. */
    int (*load)(void *arg, struct ph_config *ret, struct ph_buf *problems);
    void *load_arg;
    /* A pipeline that ends is started again, with backoff; else the first error of one is the
     * answer once all are over. */
    bool keep;
};

/* Runs until SIGTERM or SIGINT (0 after all have drained; a second one ends the program at once) or
 * until no pipeline is left. Blocks those signals and SIGHUP in the whole program: call it before
 * any thread is started. Mistakes of the first load go to problems; what a pipeline ended with was
 * logged, and err is left alone. */
int ph_supervisor_run(const struct ph_supervisor_config *config, struct ph_buf *problems,
                      struct ph_error *err) PH_MUST_CHECK;

#endif
