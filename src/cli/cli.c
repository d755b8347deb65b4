/*
 * The words of one command: parsed with getopt_long by the command's table, answered on stdout,
 * complaints on stderr in one line that names the word.
 * Place: below every cmd_*.c. Promise: what a command's table does not allow never reaches it.
 */
#include "cli/cli.h"

#include <getopt.h>
#include <string.h>

#include "base/str.h"

const struct ph_cli_option ph_cli_common_options[] = {
    {"log-format", "logfmt|json", "How log lines on stderr are written (logfmt).", false},
    {"log-level", "debug|info|warn|error", "The least level that is logged (info).", false},
    {"help", NULL, "Shows this page.", false},
    {"version", NULL, "Shows the versions of posthorn and of its client libraries.", false},
    PH_CLI_OPTION_END,
};

/* The few options that also have a letter, the same one in every command. */
static const struct {
    char letter;
    const char *name;
} letters[] = {{'c', "config"}, {'h', "help"}};

char ph_cli_letter(const char *name)
{
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
        if (strcmp(letters[i].name, name) == 0) {
            return letters[i].letter;
        }
    }
    return '\0';
}

const struct ph_command *ph_command_find(const char *name)
{
    for (size_t i = 0; ph_commands[i]; i++) {
        if (strcmp(ph_commands[i]->name, name) == 0) {
            return ph_commands[i];
        }
    }
    return NULL;
}

void ph_cli_put_hint(struct ph_buf *out, const char *word, const char *const *names,
                     const char *prefix)
{
    const char *best = NULL;
    unsigned distance = 4;
    for (size_t i = 0; names[i]; i++) {
        unsigned d = ph_str_distance(ph_str_from(word), ph_str_from(names[i]));
        if (d < distance && d < strlen(names[i])) {
            distance = d;
            best = names[i];
        }
    }
    if (best) {
        ph_buf_printf(out, " (did you mean %s%s?)", prefix, best);
    }
}

/* --- parse -------------------------------------------------------------------------------------
 */

#define OPTION_VALUE 256 /* getopt's answer for row i is OPTION_VALUE + i */

/* The rows that a command takes, in getopt's form. */
struct rows {
    const struct ph_cli_option *row[PH_CLI_OPTIONS_MAX];
    struct option getopt[PH_CLI_OPTIONS_MAX + 1];
    const char *names[PH_CLI_OPTIONS_MAX + 1];
    char shorts[2 + 2 * sizeof letters / sizeof letters[0]]; /* ":c:h" */
    size_t count;
};

static void add_letter(struct rows *rows, const struct ph_cli_option *option)
{
    char letter = ph_cli_letter(option->name);
    size_t len = strlen(rows->shorts);
    if (letter && !strchr(rows->shorts, letter)) {
        rows->shorts[len] = letter;
        rows->shorts[len + 1] = option->arg ? ':' : '\0';
    }
}

static void add_rows(struct rows *rows, const struct ph_cli_option *table)
{
    for (; table && table->name && rows->count < PH_CLI_OPTIONS_MAX; table++) {
        size_t i = rows->count++;
        rows->row[i] = table;
        rows->names[i] = table->name;
        rows->getopt[i] = (struct option){table->name, table->arg ? required_argument : no_argument,
                                          NULL, OPTION_VALUE + (int)i};
        add_letter(rows, table);
    }
}

/* The row of what getopt gave: a number of ours or a letter; NULL for none. */
static const struct ph_cli_option *row_of(const struct rows *rows, int answer)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (answer == OPTION_VALUE + (int)i || answer == ph_cli_letter(rows->names[i])) {
            return rows->row[i];
        }
    }
    return NULL;
}

static int fail_word(const struct rows *rows, const char *word, int answer, struct ph_error *err)
{
    const struct ph_cli_option *known = row_of(rows, optopt);
    if (answer == ':' || optopt >= OPTION_VALUE) {
        return ph_fail(err, PH_E_USAGE,
                       answer == ':' ? "option --%s needs a value" : "option --%s takes no value",
                       known->name);
    }
    char name[64] = "";
    if (strncmp(word, "--", 2) == 0) {
        size_t len = strcspn(word + 2, "=");
        memcpy(name, word + 2, len < sizeof name ? len : sizeof name - 1);
    } else {
        name[0] = (char)optopt;
    }
    struct ph_buf hint;
    ph_buf_init(&hint, 256);
    ph_cli_put_hint(&hint, name, rows->names, "--");
    (void)ph_fail(err, PH_E_USAGE, "unknown option %s%s%s", strlen(name) > 1 ? "--" : "-", name,
                  ph_buf_text(&hint));
    ph_buf_free(&hint);
    return PH_E_USAGE;
}

static int keep_value(struct ph_cli *cli, const struct ph_cli_option *row, struct ph_error *err)
{
    if (!row->repeat && ph_cli_get(cli, row->name)) {
        return ph_fail(err, PH_E_USAGE, "option --%s was given twice", row->name);
    }
    if (cli->value_count == PH_CLI_VALUES_MAX) {
        return ph_fail(err, PH_E_USAGE, "more than %d options", PH_CLI_VALUES_MAX);
    }
    cli->values[cli->value_count++] = (struct ph_cli_value){row, row->arg ? optarg : NULL};
    return 0;
}

static int keep_operands(struct ph_cli *cli, int argc, char **argv, struct ph_error *err)
{
    const struct ph_command *command = cli->command;
    size_t count = 0;
    for (int at = optind; at < argc; at++, count++) {
        if (count == PH_CLI_OPERANDS_MAX || !command->operands[count]) {
            return ph_fail(err, PH_E_USAGE, "too many words: \"%s\" has no place here", argv[at]);
        }
        cli->operands[count] = argv[at];
    }
    if (count < command->operands_needed && !ph_cli_get(cli, "help") &&
        !ph_cli_get(cli, "version")) {
        return ph_fail(err, PH_E_USAGE, "%s is missing", command->operands[count]);
    }
    return 0;
}

int ph_cli_parse(struct ph_cli *cli, const struct ph_command *command, int argc, char **argv,
                 struct ph_error *err)
{
    *cli = (struct ph_cli){.command = command};
    struct rows rows = {.shorts = ":"};
    add_rows(&rows, command->options);
    add_rows(&rows, ph_cli_common_options);
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    for (;;) {
        int at = optind ? optind : 1;
        int answer = getopt_long(argc, argv, rows.shorts, rows.getopt, NULL);
        if (answer == -1) {
            return keep_operands(cli, argc, argv, err);
        }
        /* getopt moves operands behind options; the word it read is just in front of optind. */
        const char *word = argv[optind > at ? optind - 1 : at];
        const struct ph_cli_option *row =
            answer == '?' || answer == ':' ? NULL : row_of(&rows, answer);
        int rc = row ? keep_value(cli, row, err) : fail_word(&rows, word, answer, err);
        if (rc < 0) {
            return rc;
        }
    }
}

const char *ph_cli_get(const struct ph_cli *cli, const char *name)
{
    for (size_t i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].option->name, name) == 0) {
            return cli->values[i].text ? cli->values[i].text : "";
        }
    }
    return NULL;
}

size_t ph_cli_all(const struct ph_cli *cli, const char *name, const char **out, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].option->name, name) == 0 && count < max) {
            out[count++] = cli->values[i].text;
        }
    }
    return count;
}

int ph_cli_need(const struct ph_cli *cli, const char *name, struct ph_error *err)
{
    if (ph_cli_get(cli, name)) {
        return 0;
    }
    return ph_fail(err, PH_E_USAGE, "--%s is missing", name);
}

/* --- answers -----------------------------------------------------------------------------------
 */

int ph_cli_fail(const struct ph_error *err)
{
    ph_cli_complain(err->text);
    return ph_code_exit(err->code);
}

void ph_cli_complain(const char *lines)
{
    while (*lines) {
        int len = (int)strcspn(lines, "\n");
        (void)fprintf(stderr, "posthorn: %.*s\n", len, lines);
        lines += len + (lines[len] == '\n');
    }
}

void ph_cli_complain_all(const struct ph_buf *problems)
{
    ph_cli_complain(ph_buf_text(problems));
    if (problems->failed) {
        ph_cli_complain("there are more mistakes than can be shown here");
    }
}

int ph_cli_print(const struct ph_buf *text)
{
    struct ph_error err = {0};
    if (ph_buf_check(text, "the answer", &err) < 0) {
        return ph_cli_fail(&err);
    }
    size_t written = text->len ? fwrite(text->ptr, 1, text->len, stdout) : 0;
    if (written != text->len || fflush(stdout) != 0) {
        (void)ph_fail(&err, PH_E_IO, "cannot write to stdout");
        return ph_cli_fail(&err);
    }
    return PH_EXIT_OK;
}
