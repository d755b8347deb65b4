/*
 * The completion for zsh.
 * Place: one of the three that `posthorn completion` writes.
 * Promise: each option is one _arguments row with its sentence from the table.
 */
#include "cli/commands.h"
#include "cli/completion.h"

static const char head[] = "#compdef posthorn\n"
                           "# zsh completion for posthorn, written by `posthorn completion zsh`.\n"
                           "\n"
                           "_posthorn_uri() {\n"
                           "    if compset -P '(file|sqlite):'; then\n"
                           "        _files\n"
                           "    else\n"
                           "        compadd -S '' -- \"$@\"\n"
                           "    fi\n"
                           "}\n"
                           "\n"
                           "_posthorn_at_file() {\n"
                           "    compset -P @ && _files\n"
                           "}\n"
                           "\n";

static const char main_head[] = "_posthorn() {\n"
                                "    local curcontext=$curcontext state line\n"
                                "    typeset -A opt_args\n"
                                "    _arguments -C \\\n";

static const char main_tail[] =
    "        '1:command:_posthorn_command' '*::word:->words' && return 0\n"
    "    [[ $state == words ]] && _posthorn_words\n"
    "}\n"
    "\n"
    "if [[ $funcstack[1] == _posthorn ]]; then\n"
    "    _posthorn \"$@\"\n"
    "else\n"
    "    compdef _posthorn posthorn\n"
    "fi\n";

#define EXPLAINED "[]:\\" /* what _arguments and _describe read themselves */

/* ":MESSAGE:ACTION" of a value. */
static void put_action(struct ph_buf *out, const char *arg)
{
    ph_buf_putc(out, ':');
    ph_put_quoted(out, arg, EXPLAINED);
    ph_buf_putc(out, ':');
    enum ph_word word = ph_word_of(arg);
    switch (word) {
    case PH_WORD_TEXT:
        ph_buf_putc(out, ' ');
        break;
    case PH_WORD_CHOICE:
        ph_buf_putc(out, '(');
        ph_put_choices(out, arg, "");
        ph_buf_putc(out, ')');
        break;
    case PH_WORD_FILE:
        ph_buf_puts(out, "_files");
        break;
    case PH_WORD_FOLDER:
        ph_buf_puts(out, "_directories");
        break;
    case PH_WORD_AT_FILE:
    case PH_WORD_COMMAND:
    case PH_WORD_SETTING:
    case PH_WORD_SOURCE:
    case PH_WORD_SINK:
        ph_buf_printf(out, "_posthorn_%s", ph_word_name(word));
        break;
    }
}

static void put_spec(struct ph_buf *out, const struct ph_cli_option *option, char letter,
                     bool brief)
{
    ph_buf_puts(out, "        '");
    if (option->repeat) {
        ph_buf_putc(out, '*');
    } else if (letter) {
        ph_buf_printf(out, "(-%c --%s)", letter, option->name);
    }
    if (brief) {
        ph_buf_printf(out, "-%c%s[", letter, option->arg ? "+" : "");
    } else {
        ph_buf_printf(out, "--%s%s[", option->name, option->arg ? "=" : "");
    }
    ph_put_quoted(out, option->help, EXPLAINED);
    ph_buf_putc(out, ']');
    if (option->arg) {
        put_action(out, option->arg);
    }
    ph_buf_puts(out, "' \\\n");
}

static void put_option(struct ph_buf *out, const struct ph_command *command,
                       const struct ph_cli_option *option)
{
    (void)command;
    char letter = ph_cli_letter(option->name);
    if (letter) {
        put_spec(out, option, letter, true);
    }
    put_spec(out, option, letter, false);
}

static void put_command(struct ph_buf *out, const struct ph_command *command)
{
    ph_buf_printf(out, "    %s) _arguments \\\n", command->name);
    ph_each_option(out, command, put_option);
    for (size_t i = 0; i < PH_CLI_OPERANDS_MAX && command->operands[i]; i++) {
        ph_buf_printf(out, "        '%zu", i + 1);
        put_action(out, command->operands[i]);
        ph_buf_puts(out, "' \\\n");
    }
    ph_buf_puts(out, "        ;;\n");
}

static void put_choices_of(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    const char *choices = ph_setting_choices(row);
    if (choices) {
        ph_buf_printf(out, "        *%s) compadd --", key);
        ph_put_choices(out, choices, "");
        ph_buf_puts(out, " ;;\n");
    }
}

static void put_key(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    ph_buf_printf(out, "            '%s:", key);
    ph_put_quoted(out, row->help ? row->help : "", ":\\");
    ph_buf_puts(out, "'\n");
}

static void put_settings(struct ph_buf *out)
{
    ph_buf_puts(out, "_posthorn_setting() {\n"
                     "    if compset -P '*='; then\n"
                     "        case $IPREFIX in\n");
    ph_each_setting(out, put_choices_of);
    ph_buf_puts(out, "        esac\n"
                     "    else\n"
                     "        local -a keys=(\n");
    ph_each_setting(out, put_key);
    ph_buf_puts(out, "        )\n"
                     "        _describe -t settings setting keys -S ''\n"
                     "    fi\n"
                     "}\n\n");
}

static void put_uris(struct ph_buf *out, enum ph_word word)
{
    ph_buf_printf(out, "_posthorn_%s() {\n    _posthorn_uri", ph_word_name(word));
    ph_put_uris(out, word);
    ph_buf_puts(out, "\n}\n\n");
}

static void put_commands(struct ph_buf *out)
{
    ph_buf_puts(out, "_posthorn_command() {\n    local -a commands=(\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_buf_printf(out, "        '%s:", ph_commands[i]->name);
        ph_put_quoted(out, ph_commands[i]->summary, ":\\");
        ph_buf_puts(out, "'\n");
    }
    ph_buf_puts(out, "    )\n    _describe -t commands command commands\n}\n\n"
                     "_posthorn_words() {\n    case $words[1] in\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        put_command(out, ph_commands[i]);
    }
    ph_buf_puts(out, "    esac\n}\n\n");
}

void ph_completion_zsh(struct ph_buf *out)
{
    ph_buf_puts(out, head);
    put_settings(out);
    put_uris(out, PH_WORD_SOURCE);
    put_uris(out, PH_WORD_SINK);
    put_commands(out);
    ph_buf_puts(out, main_head);
    ph_each_option(out, NULL, put_option);
    ph_buf_puts(out, main_tail);
}
