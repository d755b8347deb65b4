/* The words that name a pipeline, shared by run and verify. */
#ifndef PH_CLI_PIPELINE_OPTIONS_H
#define PH_CLI_PIPELINE_OPTIONS_H

#include "cli/cli.h"
#include "config/settings.h"
#include "config/uri.h"

/* clang-format off */
#define PH_CLI_PIPELINE_OPTIONS                                                                    \
    {"from", "DB-URI", "The database with the log.", false},                                       \
    {"to", "SINK-URI", "kafka://HOST:PORT[,HOST:PORT], stdout: or file:PATH.", false},             \
    {"name", "NAME", "The pipeline; its checkpoint is kept under this name (default).", false},    \
    {"set", "KEY=VALUE", "Sets an option of the pipeline, see below.", true}
/* clang-format on */

/* Reads --from, --to, --name, --set and --once. 0, or the exit status after all mistakes were
 * named on stderr. Free settings in any case. */
int ph_cli_settings(const struct ph_cli *cli, struct ph_settings *settings) PH_MUST_CHECK;

/* One line for every key of --set. */
void ph_cli_pipeline_help(struct ph_buf *out);

#endif
