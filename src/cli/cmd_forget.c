/*
 * posthorn forget DB-URI PIPELINE: the log forgets a pipeline that will not come back, so that it
 * holds nothing back any more.
 * Place: a row of ph_commands over the outbox driver's forget.
 * Promise: a pipeline that an instance owns stays; what is said to be forgotten is, and is audited.
 */
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/who.h"

static int forget(const struct ph_database *db, const struct ph_cli *cli, struct ph_error *err)
{
    char who[PH_WHO_MAX];
    ph_cli_who(who);
    const char *pipeline = cli->operands[1];
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int rc =
        db->driver->forget(db->ctx, pipeline, ph_cli_get(cli, "discard-parked") != NULL, &act, err);
    if (rc == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "the log knows no pipeline \"%s\"; posthorn status names those it knows",
                       pipeline);
    }
    return rc < 0 ? rc : 0;
}

static int forget_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct ph_database db;
    int rc = ph_database_open(&db, cli->operands[0], "forget", &err);
    if (rc == 0) {
        rc = forget(&db, cli, &err);
    }
    ph_database_close(&db);
    if (rc < 0) {
        return ph_cli_fail(&err);
    }
    struct ph_buf said;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    ph_buf_printf(&said, "forgot pipeline %s\n", cli->operands[1]);
    int status = ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static const struct ph_cli_option forget_options[] = {
    {"reason", "TEXT", "Why, for the log's audit.", false},
    {"discard-parked", NULL, "Also when it has parked or dead events, which are lost then.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_forget = {
    .name = "forget",
    .summary = "Makes the log forget a pipeline that is gone for good.",
    .usage = "forget DB-URI PIPELINE [--reason TEXT] [--discard-parked]",
    .operands = {"DB-URI", "PIPELINE"},
    .operands_needed = 2,
    .options = forget_options,
    .details =
        "Removes its checkpoints, leases and parked rows: its wish for the retention no longer\n"
        "counts, and it holds no event back. Refused with status 78 while an instance owns it, "
        "and\n"
        "while it has parked or dead events. A pipeline of the same name begins anew, as its "
        "option\n"
        "start says. What a sink keeps about it stays there.",
    .run = forget_run,
};
