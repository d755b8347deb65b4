/*
 * posthorn(1) in scdoc's language, made from the commands' tables as help is.
 * Place: `posthorn help --man`, which the build gives to scdoc.
 * Promise: every command, every option and every key of --set is in it.
 */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/completion.h"

#define SPECIAL "\\*_#`<>[]|+~.-" /* what scdoc may read itself; '\' takes any of them as it is */

static void put_text(struct ph_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text != '\n' && strchr(SPECIAL, *text)) {
            ph_buf_putc(out, '\\');
        }
        ph_buf_putc(out, *text);
    }
}

static void put_option(struct ph_buf *out, const struct ph_command *command,
                       const struct ph_cli_option *option)
{
    (void)command;
    char letter = ph_cli_letter(option->name);
    if (letter) {
        ph_buf_printf(out, "*-%c*, ", letter);
    }
    ph_buf_puts(out, "*--");
    put_text(out, option->name);
    ph_buf_putc(out, '*');
    if (option->arg) {
        ph_buf_puts(out, " _");
        put_text(out, option->arg);
        ph_buf_putc(out, '_');
    }
    ph_buf_printf(out, "%s\n\t", option->repeat ? " ..." : "");
    put_text(out, option->help);
    ph_buf_puts(out, "\n\n");
}

/* Lines as they are, each with a word in front. */
static void put_lines(struct ph_buf *out, const char *lines, const char *before)
{
    ph_buf_puts(out, "```\n");
    while (*lines) {
        int len = (int)strcspn(lines, "\n");
        ph_buf_printf(out, "%s%.*s\n", before, len, lines);
        lines += len + (lines[len] == '\n');
    }
    ph_buf_puts(out, "```\n\n");
}

static void put_command(struct ph_buf *out, const struct ph_command *command)
{
    ph_buf_printf(out, "## posthorn %s\n\n", command->name);
    put_text(out, command->summary);
    ph_buf_puts(out, "\n\n");
    put_lines(out, command->usage, "posthorn ");
    if (command->details) {
        put_lines(out, command->details, "");
    }
    for (const struct ph_cli_option *row = command->options; row && row->name; row++) {
        put_option(out, command, row);
    }
}

static void put_key(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    const char *choices = ph_setting_choices(row);
    ph_buf_putc(out, '*');
    put_text(out, key);
    ph_buf_puts(out, choices ? "*_" : "*");
    if (choices) {
        put_text(out, choices);
        ph_buf_putc(out, '_');
    }
    ph_buf_puts(out, "\n\t");
    put_text(out, row->help ? row->help : "");
    if (row->fallback) {
        ph_buf_puts(out, " (default ");
        put_text(out, *row->fallback ? row->fallback : "empty");
        ph_buf_putc(out, ')');
    }
    ph_buf_puts(out, "\n\n");
}

static void put_statuses(struct ph_buf *out)
{
    static const struct {
        int exit_status;
        const char *text;
    } rows[] = {{PH_EXIT_OK, "done, or stopped as asked"},
                {PH_EXIT_FOUND, "verify found something"},
#define ROW(name, value, class, exit_status, text) {exit_status, text},
                PH_ERROR_MAP(ROW)
#undef ROW
    };
    ph_buf_puts(out, "# EXIT STATUS\n\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].exit_status != PH_EXIT_OK || i == 0) {
            ph_buf_printf(out, "*%d*\n\t", rows[i].exit_status);
            put_text(out, rows[i].text);
            ph_buf_puts(out, "\n\n");
        }
    }
}

static const char introduction[] =
    "# NAME\n\nposthorn - relay of a transactional outbox to Kafka and files\n\n"
    "# SYNOPSIS\n\n*posthorn* _COMMAND_ [_OPTION_]...\n\n"
    "# DESCRIPTION\n\n"
    "A service writes what happened into an outbox table, in the transaction that makes it "
    "happen.\n"
    "*posthorn run* carries every committed row to a sink, in order for each key, at least once, "
    "and\n"
    "none that was rolled back. The other commands install the table, publish, look, prove and "
    "tidy.\n\n"
    "_DB-URI_ is *postgresql://*... or any libpq connection string, or *sqlite:*_PATH_. _SINK-URI_ "
    "is\n*kafka://*_HOST_:_PORT_, *file:*_PATH_ or *stdout:*.\n\n";

static const char ending[] =
    "# ENVIRONMENT\n\n"
    "*PG...*\n\tlibpq's variables (PGHOST, PGPASSWORD, ...) for PostgreSQL.\n\n"
    "*CREDENTIALS\\_DIRECTORY*\n\twhere systemd puts the secrets of LoadCredential=.\n\n"
    "*NOTIFY\\_SOCKET*, *WATCHDOG\\_USEC*\n\tset by systemd: readiness, reloads and the "
    "watchdog.\n\n"
    "*NO\\_COLOR*\n\tno colour in log lines on a terminal.\n\n"
    "# FILES\n\n"
    "_/etc/posthorn/posthorn.yaml_\n\twhat the service relays.\n\n"
    "_/var/lib/posthorn_\n\tthe service's own files.\n\n"
    "# SEE ALSO\n\n*posthorn.yaml*(5), *psql*(1), *systemctl*(1)\n";

void ph_cli_man(struct ph_buf *out)
{
    ph_buf_puts(out, "posthorn(1) \"posthorn " PH_VERSION "\" \"Posthorn\"\n\n");
    ph_buf_puts(out, introduction);
    ph_buf_puts(out, "# OPTIONS OF EVERY COMMAND\n\n");
    ph_each_option(out, NULL, put_option);
    ph_buf_puts(out, "# COMMANDS\n\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        put_command(out, ph_commands[i]);
    }
    ph_buf_puts(out, "# KEYS OF --set\n\n");
    ph_each_setting(out, put_key);
    put_statuses(out);
    ph_buf_puts(out, ending);
}
