/*
 * From the words --config, --from, --to, --name and --set to what ph_config_load wants, and the
 * help for them. Place: between run or verify and config/.
 */
#include "cli/pipeline_options.h"

#include <stdlib.h>
#include <unistd.h>

#include "config/docs.h"

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
    struct ph_docs_section section;
    ph_buf_puts(out, "\nKeys of --set:\n");
    for (size_t n = 0; ph_docs_section(n, &section); n++) {
        if (section.driver) {
            ph_buf_printf(out, "\nWith --%s %s: %s\n",
                          strcmp(section.family, "source") == 0 ? "from" : "to", section.driver,
                          section.about);
        } else if (*section.family) {
            ph_buf_printf(out, "\n%s: %s\n", section.family, section.about);
        }
        ph_options_help(section.table, section.family, out);
        if (strcmp(section.family, "route") == 0) {
            ph_buf_printf(out, "  %-36s %s\n", "route.rules.N.FIELD=TEXT",
                          "rule N (0, 1, ...), the first that matches wins; FIELD is event_type or "
                          "aggregate_type (patterns with * and ?), topic, key or envelope");
        }
    }
}
