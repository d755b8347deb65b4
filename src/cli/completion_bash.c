/*
 * The completion for bash.
 * Place: one of the three that `posthorn completion` writes.
 * Promise: words are split at spaces, so that URIs and KEY=VALUE stay whole whatever
 * COMP_WORDBREAKS says; it needs no other package.
 */
#include "cli/commands.h"
#include "cli/completion.h"

static const char head[] =
    "# bash completion for posthorn, written by `posthorn completion bash`.\n"
    "\n"
    "# COMMAND OPTION (or 1, 2: a word): sets kind and choices of its value; fails for a flag.\n"
    "_posthorn_takes() {\n"
    "    kind=text choices=\n"
    "    case $1/$2 in\n";

static const char middle[] = "    *) return 1 ;;\n"
                             "    esac\n"
                             "}\n"
                             "\n"
                             "# KEY=VALUE: sets choices of the value.\n"
                             "_posthorn_setting() {\n"
                             "    choices=\n"
                             "    case $1 in\n";

static const char tail[] =
    "# Files behind a beginning that is no part of their names: file:, sqlite:, @.\n"
    "_posthorn_files() {\n"
    "    local start=$1 path\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    while IFS= read -r path; do\n"
    "        COMPREPLY+=(\"$start$path\")\n"
    "    done < <(compgen -f -- \"${cur#\"$start\"}\")\n"
    "}\n"
    "\n"
    "_posthorn_words() {\n"
    "    COMPREPLY+=($(compgen -W \"$1\" -- \"$cur\"))\n"
    "}\n"
    "\n"
    "_posthorn_unfinished() {\n"
    "    compopt -o nospace 2>/dev/null\n"
    "    _posthorn_words \"$1\"\n"
    "}\n"
    "\n"
    "_posthorn_value() {\n"
    "    case $kind in\n"
    "    choice) _posthorn_words \"$choices\" ;;\n"
    "    file) _posthorn_files '' ;;\n"
    "    at_file) [[ $cur != @* ]] || _posthorn_files @ ;;\n"
    "    folder) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- \"$cur\")) ;;\n"
    "    command) _posthorn_words \"$_posthorn_commands\" ;;\n"
    "    setting)\n"
    "        if [[ $cur == *=* ]]; then\n"
    "            _posthorn_setting \"$cur\"\n"
    "            _posthorn_words \"$choices\"\n"
    "        else\n"
    "            _posthorn_unfinished \"$_posthorn_keys\"\n"
    "        fi ;;\n"
    "    source | sink)\n"
    "        if [[ $cur == @(file|sqlite):* ]]; then\n"
    "            _posthorn_files \"${cur%%:*}:\"\n"
    "        elif [[ $kind == source ]]; then\n"
    "            _posthorn_unfinished \"$_posthorn_sources\"\n"
    "        else\n"
    "            _posthorn_unfinished \"$_posthorn_sinks\"\n"
    "        fi ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "# readline replaces only what stands behind the last = or : where those break words.\n"
    "_posthorn_cut() {\n"
    "    local whole=$1 i start=\n"
    "    [[ $COMP_WORDBREAKS != *:* || $whole != *:* ]] || start=${whole%\"${whole##*:}\"}\n"
    "    [[ $COMP_WORDBREAKS != *=* || ${whole#\"$start\"} != *=* ]] ||\n"
    "        start=${whole%\"${whole##*=}\"}\n"
    "    for i in \"${!COMPREPLY[@]}\"; do\n"
    "        COMPREPLY[i]=${COMPREPLY[i]#\"$start\"}\n"
    "    done\n"
    "}\n"
    "\n"
    "_posthorn() {\n"
    "    local words cur command= option= operands=0 kind choices start= i\n"
    "    local line=${COMP_LINE:0:COMP_POINT}\n"
    "    read -ra words <<<\"$line\"\n"
    "    [[ $line != *[[:space:]] ]] || words+=('')\n"
    "    COMPREPLY=()\n"
    "    cur=${words[${#words[@]} - 1]}\n"
    "    for ((i = 1; i < ${#words[@]} - 1; i++)); do\n"
    "        if [[ $option ]]; then\n"
    "            option=\n"
    "        elif [[ ${words[i]} == -* ]]; then\n"
    "            ! _posthorn_takes \"$command\" \"${words[i]}\" || option=${words[i]}\n"
    "        elif [[ -z $command ]]; then\n"
    "            command=${words[i]}\n"
    "        else\n"
    "            operands=$((operands + 1))\n"
    "        fi\n"
    "    done\n"
    "    local whole=$cur\n"
    "    if [[ $option ]]; then\n"
    "        _posthorn_takes \"$command\" \"$option\" && _posthorn_value\n"
    "    elif [[ $cur == --*=* ]]; then\n"
    "        start=${cur%%=*}= cur=${cur#*=}\n"
    "        _posthorn_takes \"$command\" \"${start%=}\" && _posthorn_value\n"
    "        COMPREPLY=(\"${COMPREPLY[@]/#/$start}\")\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        _posthorn_words \"$(_posthorn_options \"$command\")\"\n"
    "    elif [[ -z $command ]]; then\n"
    "        _posthorn_words \"$_posthorn_commands\"\n"
    "    elif _posthorn_takes \"$command\" $((operands + 1)); then\n"
    "        _posthorn_value\n"
    "    else\n"
    "        _posthorn_words \"$(_posthorn_options \"$command\")\"\n"
    "    fi\n"
    "    _posthorn_cut \"$whole\"\n"
    "}\n"
    "\n"
    "complete -F _posthorn posthorn\n";

static void put_kind(struct ph_buf *out, const char *arg)
{
    enum ph_word word = ph_word_of(arg);
    ph_buf_printf(out, ") kind=%s", ph_word_name(word));
    if (word == PH_WORD_CHOICE) {
        ph_buf_puts(out, " choices='");
        ph_put_choices(out, arg, "");
        ph_buf_putc(out, '\'');
    }
    ph_buf_puts(out, " ;;\n");
}

static void put_taking(struct ph_buf *out, const struct ph_command *command,
                       const struct ph_cli_option *option)
{
    const char *name = command ? command->name : "";
    if (!option->arg) {
        return;
    }
    char letter = ph_cli_letter(option->name);
    if (letter) {
        ph_buf_printf(out, "    %s/-%c | %s/--%s", name, letter, name, option->name);
    } else {
        ph_buf_printf(out, "    %s/--%s", name, option->name);
    }
    put_kind(out, option->arg);
}

static void put_operands(struct ph_buf *out, const struct ph_command *command)
{
    for (size_t i = 0; i < PH_CLI_OPERANDS_MAX && command->operands[i]; i++) {
        ph_buf_printf(out, "    %s/%zu", command->name, i + 1);
        put_kind(out, command->operands[i]);
    }
}

static void put_choices_of(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    const char *choices = ph_setting_choices(row);
    if (choices) {
        ph_buf_printf(out, "    %s*) choices='", key);
        ph_put_choices(out, choices, key); /* the whole word is completed */
        ph_buf_puts(out, "' ;;\n");
    }
}

static void put_key(struct ph_buf *out, const char *key, const struct ph_option *row)
{
    (void)row;
    ph_buf_printf(out, " %s", key);
}

static void put_option(struct ph_buf *out, const struct ph_command *command,
                       const struct ph_cli_option *option)
{
    (void)command;
    char letter = ph_cli_letter(option->name);
    if (letter) {
        ph_buf_printf(out, " -%c", letter);
    }
    ph_buf_printf(out, " --%s", option->name);
}

static void put_lists(struct ph_buf *out)
{
    ph_buf_puts(out, "\n_posthorn_commands='");
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_buf_printf(out, " %s", ph_commands[i]->name);
    }
    ph_buf_puts(out, "'\n_posthorn_keys='");
    ph_each_setting(out, put_key);
    ph_buf_puts(out, "'\n_posthorn_sources='");
    ph_put_uris(out, PH_WORD_SOURCE);
    ph_buf_puts(out, "'\n_posthorn_sinks='");
    ph_put_uris(out, PH_WORD_SINK);
    ph_buf_puts(out, "'\n\n_posthorn_options() {\n    case $1 in\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_buf_printf(out, "    %s) echo '", ph_commands[i]->name);
        ph_each_option(out, ph_commands[i], put_option);
        ph_buf_puts(out, "' ;;\n");
    }
    ph_buf_puts(out, "    *) echo '");
    ph_each_option(out, NULL, put_option);
    ph_buf_puts(out, "' ;;\n    esac\n}\n\n");
}

void ph_completion_bash(struct ph_buf *out)
{
    ph_buf_puts(out, head);
    ph_each_option(out, NULL, put_taking);
    for (size_t i = 0; ph_commands[i]; i++) {
        ph_each_option(out, ph_commands[i], put_taking);
        put_operands(out, ph_commands[i]);
    }
    ph_buf_puts(out, middle);
    ph_each_setting(out, put_choices_of);
    ph_buf_puts(out, "    esac\n}\n");
    put_lists(out);
    ph_buf_puts(out, tail);
}
