/*
 * posthorn help [COMMAND]: the same page that `posthorn COMMAND --help` shows.
 * Place: a row of ph_commands. Promise: help goes to stdout, with status 0.
 */
#include "cli/commands.h"

static int help_run(const struct ph_cli *cli)
{
    const struct ph_command *command = NULL;
    if (cli->operands[0]) {
        command = ph_command_find(cli->operands[0]);
        if (!command) {
            (void)fprintf(stderr, "posthorn: help: unknown command \"%s\" (see posthorn help)\n",
                          cli->operands[0]);
            return PH_EXIT_USAGE;
        }
    }
    struct ph_buf page;
    ph_buf_init(&page, PH_CLI_PAGE_MAX);
    if (ph_cli_get(cli, "man")) {
        ph_cli_man(&page);
    } else {
        ph_cli_help(command, &page);
    }
    int status = ph_cli_print(&page);
    ph_buf_free(&page);
    return status;
}

static const struct ph_cli_option help_options[] = {
    {"man", NULL, "Writes posthorn(1) in the language of scdoc.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_help = {
    .name = "help",
    .summary = "Shows the options of posthorn or of one command.",
    .usage = "help [COMMAND] [--man]",
    .options = help_options,
    .operands = {"COMMAND"},
    .run = help_run,
};
