/* The words that name pipelines, shared by run and verify. */
#ifndef PH_CLI_PIPELINE_OPTIONS_H
#define PH_CLI_PIPELINE_OPTIONS_H

#include "cli/cli.h"
#include "config/config.h"
#include "config/uri.h"

/* clang-format off */
#define PH_CLI_PIPELINE_OPTIONS                                                                    \
    {"config", "FILE", "The configuration with all pipelines; else the file of POSTHORN_CONFIG.",  \
     false},                                                                                       \
    {"from", "DB-URI", "The database with the log.", false},                                       \
    {"to", "SINK-URI", "kafka://HOST:PORT[,HOST:PORT], stdout: or file:PATH.", false},             \
    {"name", "NAME", "The pipeline; its checkpoint is kept under this name (default).", false},    \
    {"set", "KEY=VALUE", "Sets an option of the pipeline, see below.", true}
/* clang-format on */

struct ph_cli_pipelines {
    struct ph_config_args args; /* for ph_config_load */
    const char *assignments[PH_CLI_VALUES_MAX];
};

/* Reads --config (or POSTHORN_CONFIG), --from, --to, --name, --set and --once. PH_E_USAGE unless
 * there is a file, or both --from and --to. */
int ph_cli_pipelines(const struct ph_cli *cli, struct ph_cli_pipelines *out,
                     struct ph_error *err) PH_MUST_CHECK;

/* One line for every key of --set. */
void ph_cli_pipeline_help(struct ph_buf *out);

#endif
