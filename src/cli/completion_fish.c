/*
 * The completion for fish.
 * Place: one of the three that `posthorn completion` writes.
 * Promise: each option is one `complete` line with its sentence from the table.
 */
#include "cli/commands.h"
#include "cli/completion.h"

static const char head[] =
    "# fish completion for posthorn, written by `posthorn completion fish`.\n"
    "\n"
    "# COMMAND [N]: whether the cursor is behind that command (and is at its word N).\n"
    "function __posthorn_at\n"
    "    set -l skip 0\n"
    "    set -l found\n"
    "    for word in (commandline -opc)[2..-1]\n"
    "        if test $skip = 1\n"
    "            set skip 0\n"
    "        else if string match -q -- '-*' $word\n"
    "            contains -- $word $__posthorn_taking\n"
    "            and set skip 1\n"
    "        else\n"
    "            set -a found $word\n"
    "        end\n"
    "    end\n"
    "    test \"$found[1]\" = \"$argv[1]\"\n"
    "    and test -z \"$argv[2]\" -o (count $found) = \"$argv[2]\"\n"
    "end\n"
    "\n"
    "# START: files behind a beginning that is no part of their names.\n"
    "function __posthorn_files\n"
    "    set -l now (string replace -r -- '^--[a-z-]+=' '' (commandline -ct))\n"
    "    set -l path (string sub -s (math (string length -- $argv[1]) + 1) -- $now)\n"
    "    for found in (complete -C \"'' $path\")\n"
    "        echo $argv[1]$found\n"
    "    end\n"
    "end\n"
    "\n"
    "function __posthorn_at_file\n"
    "    string match -q -- '@*' (commandline -ct)\n"
    "    and __posthorn_files @\n"
    "end\n"
    "\n"
    "function __posthorn_uri\n"
    "    set -l now (string replace -r -- '^--[a-z-]+=' '' (commandline -ct))\n"
    "    if set -l start (string match -r -- '^(?:file|sqlite):' $now)\n"
    "        __posthorn_files $start\n"
    "    else\n"
    "        printf '%s\\n' $argv\n"
    "    end\n"
    "end\n"
    "\n";

#define QUOTED "'\\"

/* The part of a `complete` line that says what a value is; operands take the same. */
static void put_value(struct ph_buf *out, const char *arg, bool operand)
{
    enum ph_word word = ph_word_of(arg);
    const char *needed = operand ? "" : " -x";
    switch (word) {
    case PH_WORD_TEXT:
        ph_buf_puts(out, needed);
        break;
    case PH_WORD_CHOICE:
        ph_buf_printf(out, "%s -a '", needed);
        ph_put_choices(out, arg, "");
        ph_buf_putc(out, '\'');
        break;
    case PH_WORD_FILE:
        ph_buf_puts(out, operand ? " -F" : " -r -F");
        break;
    case PH_WORD_FOLDER:
        ph_buf_printf(out, "%s -a '(__fish_complete_directories)'", needed);
        break;
    case PH_WORD_AT_FILE:
    case PH_WORD_COMMAND:
    case PH_WORD_SETTING:
    case PH_WORD_SOURCE:
    case PH_WORD_SINK:
        ph_buf_printf(out, "%s -a '(__posthorn_%s)'", needed, ph_word_name(word));
        break;
    }
}

static void put_line(struct ph_buf *out, const struct ph_command *command,
                     const struct ph_cli_option *option)
{
    ph_buf_puts(out, "complete -c posthorn");
    if (command) {
        ph_buf_printf(out, " -n '__posthorn_at %s'", command->name);
    }
    char letter = ph_cli_letter(option->name);
    if (letter) {
        ph_buf_printf(out, " -s %c", letter);
    }
    ph_buf_printf(out, " -l %s", option->name);
    if (option->arg) {
        put_value(out, option->arg, false);
    }
    ph_buf_puts(out, " -d '");
    ph_put_quoted(out, option->help, QUOTED);
    ph_buf_puts(out, "'\n");
}

static void put_command(struct ph_buf *out, const struct ph_command *command)
{
    ph_buf_printf(out, "\ncomplete -c posthorn -n '__posthorn_at \"\"' -a %s -d '", command->name);
    ph_put_quoted(out, command->summary, QUOTED);
    ph_buf_puts(out, "'\n");
    for (const struct ph_cli_option *row = command->options; row && row->name; row++) {
        put_line(out, command, row);
    }
    for (size_t i = 0; i < PH_CLI_OPERANDS_MAX && command->operands[i]; i++) {
        if (ph_word_of(command->operands[i]) != PH_WORD_TEXT) {
            ph_buf_printf(out, "complete -c posthorn -n '__posthorn_at %s %zu'", command->name,
                          i + 1);
            put_value(out, command->operands[i], true);
            ph_buf_putc(out, '\n');
        }
    }
}

static void put_taking(struct ph_buf *out, const struct ph_command *command,
                       const struct ph_cli_option *option)
{
    (void)command;
    char letter = ph_cli_letter(option->name);
    if (option->arg && letter) {
        ph_buf_printf(out, " -%c", letter);
    }
    if (option->arg) {
        ph_buf_printf(out, " --%s", option->name);
    }
}

static void put_key(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    const char *choices = ph_setting_choices(row);
    if (choices) {
        ph_buf_puts(out, "    printf '%s\\n'");
        ph_put_choices(out, choices, key);
        ph_buf_putc(out, '\n');
    }
    ph_buf_printf(out, "    printf '%%s\\t%%s\\n' '%s' '", key);
    ph_put_quoted(out, row->help ? row->help : "", QUOTED);
    ph_buf_puts(out, "'\n");
}

static void put_lists(struct ph_buf *out)
{
    ph_buf_puts(out, "set -g __posthorn_taking");
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_each_option(out, ph_commands[i], put_taking);
    }
    ph_buf_puts(out, "\n\nfunction __posthorn_command\n    printf '%s\\n'");
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_buf_printf(out, " %s", ph_commands[i]->name);
    }
    ph_buf_puts(out, "\nend\n\nfunction __posthorn_source\n    __posthorn_uri");
    ph_put_uris(out, PH_WORD_SOURCE);
    ph_buf_puts(out, "\nend\n\nfunction __posthorn_sink\n    __posthorn_uri");
    ph_put_uris(out, PH_WORD_SINK);
    ph_buf_puts(out, "\nend\n\nfunction __posthorn_setting\n");
    ph_each_setting(out, put_key);
    ph_buf_puts(out, "end\n\ncomplete -c posthorn -f\n");
}

void ph_completion_fish(struct ph_buf *out)
{
    ph_buf_puts(out, head);
    put_lists(out);
    for (const struct ph_cli_option *row = ph_cli_common_options; row->name; row++) {
        put_line(out, NULL, row);
    }
    for (size_t i = 0; ph_commands[i]; i++) {
        put_command(out, ph_commands[i]);
    }
}
