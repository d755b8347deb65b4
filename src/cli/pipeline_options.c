/*
 * From the words --from, --to, --name and --set to a pipeline's settings, and the help for them.
 * Place: between run or verify and config/settings.
 * Promise: all mistakes are told at once, one line each.
 */
#include "cli/pipeline_options.h"

int ph_cli_settings(const struct ph_cli *cli, struct ph_settings *settings)
{
    const char *assignments[PH_CLI_VALUES_MAX];
    struct ph_error err = {0};
    int rc = ph_cli_need(cli, "from", &err);
    if (rc == 0) {
        rc = ph_cli_need(cli, "to", &err);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "posthorn: %s: %s (see posthorn help %s)\n", cli->command->name,
                      err.text, cli->command->name);
        return PH_EXIT_USAGE;
    }
    struct ph_settings_args args = {
        .from = ph_cli_get(cli, "from"),
        .to = ph_cli_get(cli, "to"),
        .name = ph_cli_get(cli, "name"),
        .assignments = assignments,
        .assignment_count = ph_cli_all(cli, "set", assignments, PH_CLI_VALUES_MAX),
        .once = ph_cli_get(cli, "once") != NULL,
    };
    struct ph_buf problems;
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    rc = ph_settings_load(settings, &args, &problems);
    ph_cli_complain(ph_buf_text(&problems));
    ph_buf_free(&problems);
    return ph_code_exit(rc);
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
