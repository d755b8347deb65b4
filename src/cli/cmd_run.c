/*
 * posthorn run: one pipeline in the foreground until it is told to stop.
 * Place: a row of ph_commands; settings in, core's pipeline out, nothing in between but signals
 * and the two log lines at start and end.
 * Promise: the first SIGTERM or SIGINT drains, the second ends the program at once.
 */
#include <signal.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/pipeline_options.h"

static struct ph_stop *stop_of_handler;
static volatile sig_atomic_t signals_seen;

static void on_signal(int signo)
{
    if (signals_seen) {
        _exit(128 + signo);
    }
    signals_seen = 1;
    ph_stop_request(stop_of_handler);
}

static int install_signals(struct ph_stop *stop, struct ph_error *err)
{
    stop_of_handler = stop;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    /* While one is handled the other waits, so that two at once cannot both be the first. */
    (void)sigaddset(&action.sa_mask, SIGTERM);
    (void)sigaddset(&action.sa_mask, SIGINT);
    if (sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0) {
        return ph_fail(err, PH_E_SOFTWARE, "cannot install the signal handlers");
    }
    return 0;
}

static void log_start(const struct ph_pipeline_config *config)
{
    struct ph_buf versions, from, to;
    ph_buf_init(&versions, 512);
    ph_buf_init(&from, 4096);
    ph_buf_init(&to, 4096);
    ph_cli_versions_line(&versions);
    ph_uri_redact(config->from, &from);
    ph_uri_redact(config->to, &to);
    ph_log(PH_LOG_INFO, config->name, "starting: %s; from %s to %s%s", ph_buf_text(&versions),
           ph_buf_text(&from), ph_buf_text(&to), config->once ? ", once" : "");
    ph_buf_free(&versions);
    ph_buf_free(&from);
    ph_buf_free(&to);
}

static void log_end(const struct ph_pipeline_config *config, const struct ph_pipeline *pipeline,
                    int rc, const struct ph_error *err)
{
    const struct ph_pipeline_metrics *m = ph_pipeline_metrics(pipeline);
    const char *why = signals_seen ? "stopped" : "drained";
    if (rc < 0) {
        ph_log(PH_LOG_ERROR, config->name, "%s", err->text);
        why = "ended with an error";
    }
    ph_log(PH_LOG_INFO, config->name,
           "%s: %lld events sent in %lld batches, %lld checkpoints stored", why,
           (long long)m->events_sent, (long long)m->batches, (long long)m->checkpoints);
}

static int run_pipeline(const struct ph_pipeline_config *config, struct ph_stop *stop,
                        struct ph_error *err)
{
    struct ph_pipeline *pipeline = NULL;
    log_start(config);
    int rc = ph_pipeline_new(config, stop, &pipeline, err);
    if (rc < 0) {
        ph_log(PH_LOG_ERROR, config->name, "%s", err->text);
        return rc;
    }
    rc = ph_pipeline_run(pipeline, err);
    log_end(config, pipeline, rc, err);
    ph_pipeline_free(pipeline);
    return rc;
}

static int run_run(const struct ph_cli *cli)
{
    struct ph_settings settings = {0};
    struct ph_stop stop;
    struct ph_error err = {0};
    int status = ph_cli_settings(cli, &settings);
    if (status == PH_EXIT_OK && ph_stop_init(&stop, &err) < 0) {
        status = ph_cli_fail(&err);
    } else if (status == PH_EXIT_OK) {
        int rc = install_signals(&stop, &err);
        if (rc < 0) {
            status = ph_cli_fail(&err);
        } else {
            status = ph_code_exit(run_pipeline(&settings.pipeline, &stop, &err));
        }
        (void)signal(SIGTERM, SIG_IGN); /* the work is done and stop is about to go */
        (void)signal(SIGINT, SIG_IGN);
        ph_stop_free(&stop);
    }
    ph_settings_free(&settings);
    return status;
}

static const struct ph_cli_option run_options[] = {
    PH_CLI_PIPELINE_OPTIONS,
    {"once", NULL, "Delivers what is in the log now and exits.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_run = {
    .name = "run",
    .summary = "Delivers the events of a database to a sink.",
    .usage = "run --from DB-URI --to SINK-URI [--name N] [--set KEY=VALUE]... [--once]",
    .options = run_options,
    .details =
        "Runs in the foreground. SIGTERM or SIGINT: stops reading, finishes what is in flight\n"
        "within drain_timeout, stores the checkpoint and exits 0; a second one exits at once.",
    .more_help = ph_cli_pipeline_help,
    .run = run_run,
};
