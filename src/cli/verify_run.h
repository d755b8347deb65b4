/* Compares a pipeline's log with its sink; what `verify` and `demo` say comes from here. */
#ifndef PH_CLI_VERIFY_RUN_H
#define PH_CLI_VERIFY_RUN_H

#include "cli/verify_compare.h"
#include "core/pipeline.h"

struct ph_verify_result {
    struct ph_compare_result compare;
    int64_t skipped; /* events that an operator skipped */
    int64_t pending; /* events behind the checkpoint */
    bool pending_estimated;
    bool strict; /* a duplicate counts, too */
    bool ok;     /* the guarantee held */
};

/* Reads both sides as they are now. 0 and *ret, also when the guarantee did not hold; PH_E_CONFIG
 * when the log or the sink cannot be read back. */
int ph_verify_run(const struct ph_pipeline_config *config, bool strict,
                  struct ph_verify_result *ret, struct ph_error *err) PH_MUST_CHECK;

/* Whether a fault (enum ph_fault) breaks the guarantee that was asked for. */
bool ph_verify_counts(const struct ph_verify_result *found, int fault);

#endif
