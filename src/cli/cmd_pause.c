/*
 * posthorn pause|resume DB-URI PIPELINE: a person holds a pipeline, wherever it runs.
 * Place: two rows of ph_commands over the outbox driver's pause.
 * Promise: what is said to be paused is, in the log, for every instance that has or will have the
 * pipeline, until it is resumed; both are audited.
 */
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"
#include "cli/who.h"

static int set_paused(const struct ph_cli *cli, bool paused, struct ph_error *err)
{
    char who[PH_WHO_MAX];
    struct ph_database db;
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int rc = ph_database_open(&db, cli->operands[0], paused ? "pause" : "resume", err);
    if (rc == 0) {
        rc = db.driver->pause(db.ctx, cli->operands[1], paused, &act, err);
    }
    ph_database_close(&db);
    return rc;
}

static int pause_or_resume(const struct ph_cli *cli, bool paused)
{
    struct ph_error err = {0};
    struct ph_buf said;
    int rc = set_paused(cli, paused, &err);
    if (rc < 0) {
        return ph_cli_fail(&err);
    }
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    ph_buf_puts(&said, rc == 0 ? "it was so already: " : "");
    ph_buf_printf(&said, "pipeline %s %s\n", cli->operands[1],
                  paused ? "is paused" : "is not paused");
    int status = ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static int pause_run(const struct ph_cli *cli)
{
    return pause_or_resume(cli, true);
}

static int resume_run(const struct ph_cli *cli)
{
    return pause_or_resume(cli, false);
}

static const struct ph_cli_option pause_options[] = {
    {"reason", "TEXT", "Why, for the log's audit and for whoever asks for the status.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_pause = {
    .name = "pause",
    .summary = "Stops a pipeline from delivering, wherever it runs.",
    .usage = "pause DB-URI PIPELINE [--reason TEXT]",
    .operands = {"DB-URI", "PIPELINE"},
    .operands_needed = 2,
    .options = pause_options,
    .details =
        "Its instances stay and keep their leases, and submit nothing from the next renewal of\n"
        "the lease on; what is on its way by then is delivered and settled. It holds over\n"
        "restarts, until posthorn resume. Writers do not notice.",
    .run = pause_run,
};

const struct ph_command ph_cmd_resume = {
    .name = "resume",
    .summary = "Lets a paused pipeline go on.",
    .usage = "resume DB-URI PIPELINE [--reason TEXT]",
    .operands = {"DB-URI", "PIPELINE"},
    .operands_needed = 2,
    .options = pause_options,
    .details = "It goes on where it stopped, at the next renewal of its lease.",
    .run = resume_run,
};
