/*
 * posthorn erase DB-URI --aggregate-type T --aggregate-id I: the right to erasure.
 * Place: a row of ph_commands over the outbox driver's erase.
 * Promise: nothing is erased without --yes or a person's answer; what is said to be erased is, and
 * is audited.
 */
#include <unistd.h>

#include "cli/commands.h"
#include "cli/database.h"
#include "cli/who.h"

static int need_text(const struct ph_cli *cli, const char *name, struct ph_error *err)
{
    int rc = ph_cli_need(cli, name, err);
    if (rc == 0 && *ph_cli_get(cli, name) == '\0') {
        rc = ph_fail(err, PH_E_USAGE, "--%s must not be empty", name);
    }
    return rc;
}

/* A person at a terminal is asked; nobody else is there to answer. */
static int confirm(const struct ph_cli *cli, struct ph_error *err)
{
    char answer[16] = "";
    if (ph_cli_get(cli, "yes")) {
        return 0;
    }
    if (!isatty(STDIN_FILENO)) {
        return ph_fail(err, PH_E_USAGE,
                       "this cannot be undone, and stdin is no terminal to ask on: add --yes");
    }
    (void)fprintf(stderr,
                  "Payload and headers of all events of %s %s will be gone for good. Erase? [y/N] ",
                  ph_cli_get(cli, "aggregate-type"), ph_cli_get(cli, "aggregate-id"));
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
        return ph_fail(err, PH_E_USAGE, "not erased, as you answered");
    }
    return 0;
}

static int check(const struct ph_cli *cli, struct ph_error *err)
{
    int rc = need_text(cli, "aggregate-type", err);
    if (rc == 0) {
        rc = need_text(cli, "aggregate-id", err);
    }
    return rc == 0 ? confirm(cli, err) : rc;
}

static int erase(const struct ph_cli *cli, int64_t *ret, struct ph_error *err)
{
    struct ph_database db;
    char who[PH_WHO_MAX];
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int rc = ph_database_open(&db, cli->operands[0], "erase", err);
    if (rc == 0) {
        rc = db.driver->erase(db.ctx, ph_cli_get(cli, "aggregate-type"),
                              ph_cli_get(cli, "aggregate-id"), &act, ret, err);
    }
    ph_database_close(&db);
    return rc;
}

static int erase_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    int64_t rows = 0;
    int rc = check(cli, &err);
    if (rc == PH_E_USAGE) {
        (void)fprintf(stderr, "posthorn: erase: %s (see posthorn help erase)\n", err.text);
        return PH_EXIT_USAGE;
    }
    if (rc == 0) {
        rc = erase(cli, &rows, &err);
    }
    if (rc < 0) {
        return ph_cli_fail(&err);
    }
    struct ph_buf said;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    ph_buf_printf(&said, "erased %lld row%s\n", (long long)rows, rows == 1 ? "" : "s");
    int status = ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static const struct ph_cli_option erase_options[] = {
    {"aggregate-type", "T", "What kind of thing the events are about.", false},
    {"aggregate-id", "I", "Which one.", false},
    {"reason", "TEXT", "Why, for the log's audit.", false},
    {"yes", NULL, "Erases without asking.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_erase = {
    .name = "erase",
    .summary = "Erases the content of all events of one aggregate.",
    .usage = "erase DB-URI --aggregate-type T --aggregate-id I [--reason TEXT] [--yes]",
    .operands = {"DB-URI"},
    .operands_needed = 1,
    .options = erase_options,
    .details =
        "Payloads become {\"erased\": true}, headers empty, in the log and wherever Posthorn "
        "keeps\n"
        "a copy in this database. Rows, ids and order stay, so that readers and verify are\n"
        "unharmed; an event that was not delivered yet is delivered erased. Says how many rows it\n"
        "changed; a second time there are none. What is already in a sink stays there.\n"
        "It asks before it begins; without a terminal it wants --yes, or ends with status 64.",
    .run = erase_run,
};
