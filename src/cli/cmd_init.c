/*
 * posthorn init DB-URI: installs the schema or brings it up to this program's version.
 * Place: a row of ph_commands; the work is the outbox driver's init.
 * Promise: says what was done, or with --dry-run what would be.
 */
#include "cli/commands.h"
#include "cli/database.h"

static int init_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    const struct ph_outbox_driver *driver = NULL;
    struct ph_outbox_init how = {.dry_run = ph_cli_get(cli, "dry-run") != NULL,
                                 .roles = ph_cli_get(cli, "roles") != NULL};
    struct ph_buf said;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    int rc = ph_database_find(cli->operands[0], &driver, &err);
    if (rc == 0) {
        rc = driver->init(cli->operands[0], &how, &said, &err);
    }
    int status = rc < 0 ? ph_cli_fail(&err) : ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static const struct ph_cli_option init_options[] = {
    {"dry-run", NULL, "Prints the SQL that would run, and changes nothing.", false},
    {"roles", NULL, "Also makes the roles posthorn_writer, posthorn_relay, posthorn_owner.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_init = {
    .name = "init",
    .summary = "Installs or migrates the schema posthorn in a database.",
    .usage = "init DB-URI [--roles] [--dry-run]",
    .operands = {"DB-URI"},
    .operands_needed = 1,
    .options = init_options,
    .details = "Everything happens in one transaction; running it again changes nothing. The user\n"
               "must own the database or be allowed to create a schema in it, and for --roles to\n"
               "create roles. The server must be PostgreSQL 14 or newer, the encoding UTF8.",
    .run = init_run,
};
