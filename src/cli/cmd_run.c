/*
 * posthorn run: pipelines in the foreground until told to stop; one from --from and --to, or those
 * of a configuration file.
 * Place: a row of ph_commands; words and file in, the supervisor does the rest.
 * Promise: every mistake of words, file and environment is told at once, before anything is opened.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/pipeline_options.h"
#include "cli/supervisor.h"

static int load(void *arg, struct ph_config *ret, struct ph_buf *problems)
{
    return ph_config_load(arg, ret, problems);
}

/* --config, or both of --from and --to. */
static int check_words(const struct ph_config_args *args, struct ph_error *err)
{
    if (args->path && (args->from || args->to || args->name)) {
        return ph_fail(err, PH_E_USAGE, "--%s does not go with --config",
                       args->from ? "from"
                       : args->to ? "to"
                                  : "name");
    }
    if (!args->path && (!args->from || !args->to)) {
        return ph_fail(err, PH_E_USAGE,
                       "--%s is missing (or --config FILE instead of --from and --to)",
                       args->from ? "to" : "from");
    }
    return 0;
}

static int supervise(struct ph_config_args *args, struct ph_error *err)
{
    const struct ph_supervisor_config config = {
        .load = load, .load_arg = args, .keep = args->path && !args->once};
    struct ph_buf problems;
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = ph_supervisor_run(&config, &problems, err);
    ph_cli_complain(ph_buf_text(&problems));
    ph_cli_complain(err->text);
    ph_buf_free(&problems);
    return rc;
}

static int run_run(const struct ph_cli *cli)
{
    const char *assignments[PH_CLI_VALUES_MAX];
    struct ph_error err = {0};
    struct ph_config_args args = {
        .path = ph_cli_get(cli, "config"),
        .from = ph_cli_get(cli, "from"),
        .to = ph_cli_get(cli, "to"),
        .name = ph_cli_get(cli, "name"),
        .assignments = assignments,
        .assignment_count = ph_cli_all(cli, "set", assignments, PH_CLI_VALUES_MAX),
        .environ = environ,
        .once = ph_cli_get(cli, "once") != NULL,
    };
    if (!args.path && !args.from && !args.to) {
        args.path = getenv("POSTHORN_CONFIG");
    }
    if (check_words(&args, &err) < 0) {
        (void)fprintf(stderr, "posthorn: run: %s (see posthorn help run)\n", err.text);
        return PH_EXIT_USAGE;
    }
    return ph_code_exit(supervise(&args, &err));
}

static const struct ph_cli_option run_options[] = {
    {"config", "FILE", "The configuration with all pipelines; else the file of POSTHORN_CONFIG.",
     false},
    PH_CLI_PIPELINE_OPTIONS,
    {"once", NULL, "Delivers what is in the log now and exits.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_run = {
    .name = "run",
    .summary = "Delivers the events of databases to sinks.",
    .usage = "run --config FILE [--set PIPELINE.KEY=VALUE]... [--once]\n"
             "run --from DB-URI --to SINK-URI [--name N] [--set KEY=VALUE]... [--once]",
    .options = run_options,
    .details =
        "Runs in the foreground. SIGTERM or SIGINT: stops reading, finishes what is in flight\n"
        "within drain_timeout, stores the checkpoints and exits 0; a second one exits at once.\n"
        "With --config each pipeline has a thread of its own, and one that ends with an error is\n"
        "started again with backoff while the others go on. SIGHUP reads the file again: changed\n"
        "pipelines restart, the others do not notice; a file with a mistake changes nothing.",
    .more_help = ph_cli_pipeline_help,
    .run = run_run,
};
