/* History once more: settled events of a log, submitted to another destination. */
#ifndef PH_CLI_REPLAY_H
#define PH_CLI_REPLAY_H

#include "core/pipeline.h"

struct ph_replay {
    const struct ph_pipeline_config *config; /* with the other destination as its sink */
    /* The pipeline's own route where the destination is its own cluster: no event may go to the
     * topic that it came to before. NULL: it is another one. */
    const struct ph_route_config *own_route;
    int64_t since_us;             /* created at this time or later; 0: any */
    const char *key, *event_type; /* NULL: any */
    bool dry_run;                 /* only counts */
};

struct ph_replay_result {
    int64_t events;  /* delivered; with dry_run: that would be submitted */
    int64_t refused; /* by the source, the route or the sink */
    char why[256];   /* the first refusal: event and cause */
};

/* Reads the log from its oldest event up to the pipeline's stored checkpoint and submits what
 * matches, with the header posthorn-replay. The log, the pipeline's lease and its checkpoint stay
 * as they are. On failure *ret tells how far it came. */
int ph_replay_run(const struct ph_replay *replay, struct ph_replay_result *ret,
                  struct ph_error *err) PH_MUST_CHECK;

#endif
