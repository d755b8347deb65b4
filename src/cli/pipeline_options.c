/*
 * From the words --config, --from, --to, --name and --set to what ph_config_load wants, and the
 * help for them. Place: between run or verify and config/.
 */
#include "cli/pipeline_options.h"

#include <stdlib.h>
#include <unistd.h>

int ph_cli_pipelines(const struct ph_cli *cli, struct ph_cli_pipelines *out, struct ph_error *err)
{
    struct ph_config_args *args = &out->args;
    *args = (struct ph_config_args){
        .path = ph_cli_get(cli, "config"),
        .from = ph_cli_get(cli, "from"),
        .to = ph_cli_get(cli, "to"),
        .name = ph_cli_get(cli, "name"),
        .assignments = out->assignments,
        .assignment_count = ph_cli_all(cli, "set", out->assignments, PH_CLI_VALUES_MAX),
        .environ = environ,
        .once = ph_cli_get(cli, "once") != NULL,
    };
    if (args->path && (args->from || args->to)) {
        return ph_fail(err, PH_E_USAGE, "--%s does not go with --config",
                       args->from ? "from" : "to");
    }
    if (!args->path && !args->from && !args->to) {
        args->path = getenv("POSTHORN_CONFIG");
    }
    if (!args->path && (!args->from || !args->to)) {
        return ph_fail(err, PH_E_USAGE,
                       "--%s is missing (or --config FILE instead of --from and --to)",
                       args->from ? "to" : "from");
    }
    return 0;
}

void ph_cli_pipeline_help(struct ph_buf *out)
{
    ph_buf_puts(out, "\nKeys of --set:\n");
    ph_options_help(ph_pipeline_option_table, "", out);
    for (size_t i = 0; ph_source_drivers[i]; i++) {
        ph_buf_printf(out, "\nWith --from %s: %s\n", ph_source_drivers[i]->name,
                      ph_source_drivers[i]->summary);
        ph_options_help(ph_source_drivers[i]->options, "source", out);
    }
    for (size_t i = 0; ph_sink_drivers[i]; i++) {
        ph_buf_printf(out, "\nWith --to %s: %s\n", ph_sink_drivers[i]->name,
                      ph_sink_drivers[i]->summary);
        ph_options_help(ph_sink_drivers[i]->options, "sink", out);
    }
    ph_buf_puts(out, "\nThe route, for sinks with topics:\n");
    ph_options_help(ph_route_options, "route", out);
    ph_buf_printf(out, "  %-36s %s\n", "route.rules.N.FIELD=TEXT",
                  "rule N (0, 1, ...), the first that matches wins; FIELD is event_type or "
                  "aggregate_type (patterns with * and ?), topic, key or envelope");
}
