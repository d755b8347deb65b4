/*
 * The command `posthorn`: finds the command by its first word and gives it the rest.
 * Place: the top of the program; every command is a row of ph_commands and a file of its own.
 * Promise: wrong use ends with status 64 and one line on stderr that says where help is.
 */
#include <signal.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "cli/argv.h"
#include "cli/commands.h"

static int usage_fail(const struct ph_command *command, const struct ph_error *err)
{
    if (err->code != PH_E_USAGE) {
        return ph_cli_fail(err);
    }
    if (command) {
        (void)fprintf(stderr, "posthorn: %s: %s (see posthorn help %s)\n", command->name, err->text,
                      command->name);
    } else {
        (void)fprintf(stderr, "posthorn: %s (see posthorn help)\n", err->text);
    }
    return PH_EXIT_USAGE;
}

static int show(const struct ph_command *command, bool versions)
{
    struct ph_buf page;
    ph_buf_init(&page, PH_CLI_PAGE_MAX);
    if (versions) {
        ph_cli_versions(&page);
    } else {
        ph_cli_help(command, &page);
    }
    int status = ph_cli_print(&page);
    ph_buf_free(&page);
    return status;
}

static int set_log(const struct ph_cli *cli, struct ph_error *err)
{
    enum ph_log_level level = PH_LOG_INFO;
    enum ph_log_format format = PH_LOG_LOGFMT;
    const char *text = ph_cli_get(cli, "log-level");
    if (text && !ph_log_level_parse(ph_str_from(text), &level)) {
        return ph_fail(err, PH_E_USAGE, "--log-level %s: must be debug, info, warn or error", text);
    }
    text = ph_cli_get(cli, "log-format");
    if (text && !ph_log_format_parse(ph_str_from(text), &format)) {
        return ph_fail(err, PH_E_USAGE, "--log-format %s: must be logfmt or json", text);
    }
    ph_log_setup(level, format);
    return 0;
}

/* Takes the words in front of the command (--log-level and the like) behind it. */
static int find_command(struct ph_argv *args, const struct ph_command **ret, struct ph_error *err)
{
    *ret = NULL;
    int at = 1;
    while (at < args->count && args->words[at][0] == '-') {
        bool has_value = strcmp(args->words[at], "--log-format") == 0 ||
                         strcmp(args->words[at], "--log-level") == 0;
        at += has_value ? 2 : 1;
    }
    if (at >= args->count) {
        return args->count > 1 ? 0 : ph_fail(err, PH_E_USAGE, "no command was given");
    }
    char *word = args->words[at];
    *ret = ph_command_find(word);
    if (!*ret) {
        const char *names[16] = {NULL};
        for (size_t i = 0; ph_commands[i] && i < 15; i++) {
            names[i] = ph_commands[i]->name;
        }
        struct ph_buf hint;
        ph_buf_init(&hint, 256);
        ph_cli_put_hint(&hint, word, names, "");
        (void)ph_fail(err, PH_E_USAGE, "unknown command \"%s\"%s", word, ph_buf_text(&hint));
        ph_buf_free(&hint);
        return PH_E_USAGE;
    }
    memmove(args->words + 1, args->words, (size_t)at * sizeof *args->words);
    args->words[1] = word;
    return 0;
}

/* What getopt makes of words without a command: --help, --version, or a mistake. */
static const struct ph_command no_command = {.name = "posthorn", .usage = ""};

static int run(struct ph_argv *args)
{
    struct ph_error err = {0};
    const struct ph_command *command;
    if (find_command(args, &command, &err) < 0) {
        return usage_fail(NULL, &err);
    }
    static struct ph_cli cli;
    int shift = command ? 1 : 0;
    int rc = ph_cli_parse(&cli, command ? command : &no_command, args->count - shift,
                          args->words + shift, &err);
    if (rc < 0) {
        return usage_fail(command, &err);
    }
    if (ph_cli_get(&cli, "help") || ph_cli_get(&cli, "version")) {
        return show(command, ph_cli_get(&cli, "version") != NULL);
    }
    if (!command) {
        (void)ph_fail(&err, PH_E_USAGE, "no command was given");
        return usage_fail(NULL, &err);
    }
    if (set_log(&cli, &err) < 0) {
        return usage_fail(command, &err);
    }
    if (args->scrubbed) {
        ph_log(PH_LOG_WARN, NULL,
               "a secret on the command line can be read by every user of this machine; "
               "use PGPASSWORD, .pgpass, a service file or a *_file option");
    }
    return command->run(&cli);
}

int main(int argc, char **argv)
{
    struct ph_argv args;
    struct ph_error err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    if (PH_FAILPOINTS_SETUP(&err) < 0 || ph_argv_take(&args, argc, argv, &err) < 0) {
        return ph_cli_fail(&err);
    }
    int status = run(&args);
    ph_argv_free(&args);
    return status;
}
