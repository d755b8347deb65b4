/*
 * posthorn run: pipelines in the foreground until told to stop; one from --from and --to, or those
 * of a configuration file.
 * Place: a row of ph_commands; words and file in, the supervisor does the rest.
 * Promise: every mistake of words, file and environment is told at once, before anything is opened.
 */
#include "cli/commands.h"
#include "cli/pipeline_options.h"
#include "cli/supervisor.h"

static int load(void *arg, struct ph_config *ret, struct ph_buf *problems)
{
    return ph_config_load(arg, ret, problems);
}

static int supervise(struct ph_config_args *args, struct ph_error *err)
{
    const struct ph_supervisor_config config = {
        .load = load, .load_arg = args, .keep = args->path && !args->once};
    struct ph_buf problems;
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = ph_supervisor_run(&config, &problems, err);
    ph_cli_complain_all(&problems);
    ph_cli_complain(err->text);
    ph_buf_free(&problems);
    return rc;
}

static int run_run(const struct ph_cli *cli)
{
    struct ph_cli_pipelines words;
    struct ph_error err = {0};
    int rc = ph_cli_pipelines(cli, &words, &err);
    if (rc == 0 && words.args.path && words.args.name) {
        rc = ph_fail(&err, PH_E_USAGE, "--name does not go with --config");
    }
    if (rc < 0) {
        (void)fprintf(stderr, "posthorn: run: %s (see posthorn help run)\n", err.text);
        return PH_EXIT_USAGE;
    }
    return ph_code_exit(supervise(&words.args, &err));
}

static const struct ph_cli_option run_options[] = {
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
