/*
 * posthorn completion SHELL: the shell's completion, for its folder or for `source <(...)`.
 * Place: a row of ph_commands. Promise: made from the tables of this very program.
 */
#include <string.h>

#include "cli/commands.h"
#include "cli/completion.h"

static const struct {
    const char *name;
    void (*put)(struct ph_buf *out);
} shells[] = {
    {"bash", ph_completion_bash},
    {"zsh", ph_completion_zsh},
    {"fish", ph_completion_fish},
};

static int completion_run(const struct ph_cli *cli)
{
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].name, cli->operands[0]) == 0) {
            struct ph_buf script;
            ph_buf_init(&script, PH_CLI_PAGE_MAX);
            shells[i].put(&script);
            int status = ph_cli_print(&script);
            ph_buf_free(&script);
            return status;
        }
    }
    struct ph_error err = {0};
    (void)ph_fail(&err, PH_E_USAGE, "completion: \"%s\" is none of bash, zsh and fish",
                  cli->operands[0]);
    return ph_cli_fail(&err);
}

const struct ph_command ph_cmd_completion = {
    .name = "completion",
    .summary = "Writes the completion for bash, zsh or fish.",
    .usage = "completion bash|zsh|fish",
    .operands = {"bash|zsh|fish"},
    .operands_needed = 1,
    .details = "For this session:  source <(posthorn completion bash)\n"
               "                   posthorn completion fish | source\n"
               "Packages and `make install` put the files where the shells look for them.",
    .run = completion_run,
};
