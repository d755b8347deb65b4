/*
 * What the commands of posthorn share: one table row per option, one parse of the words, and one
 * way to answer. A command is a const struct ph_command; main.c names them all.
 */
#ifndef PH_CLI_CLI_H
#define PH_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

#define PH_CLI_VALUES_MAX   512
#define PH_CLI_OPTIONS_MAX  32
#define PH_CLI_OPERANDS_MAX 2
#define PH_CLI_PAGE_MAX     ((size_t)1 << 20) /* of what a command says */

/* Exit statuses that are no error's; see ph_code_exit for those. */
enum ph_exit { PH_EXIT_OK = 0, PH_EXIT_FOUND = 1, PH_EXIT_USAGE = 64, PH_EXIT_IO = 74 };

struct ph_cli_option {
    const char *name;
    const char *arg;  /* its value as help shows it; NULL for a flag */
    const char *help; /* one sentence */
    bool repeat;      /* may be given more than once */
};

#define PH_CLI_OPTION_END       \
    {                           \
        NULL, NULL, NULL, false \
    }

struct ph_cli;

struct ph_command {
    const char *name, *summary;
    const char *usage;                         /* all forms, one a line, without "posthorn " */
    const char *operands[PH_CLI_OPERANDS_MAX]; /* what the words are called; NULL behind the last */
    size_t operands_needed;                    /* so many must be given */
    const struct ph_cli_option *options;
    const char *details;                   /* further help, or NULL */
    void (*more_help)(struct ph_buf *out); /* help that comes from tables, or NULL */
    int (*run)(const struct ph_cli *cli);  /* the exit status */
};

/* One use of the command. */
struct ph_cli {
    const struct ph_command *command;
    struct ph_cli_value {
        const struct ph_cli_option *option;
        const char *text; /* NULL for a flag */
    } values[PH_CLI_VALUES_MAX];
    size_t value_count;
    const char *operands[PH_CLI_OPERANDS_MAX]; /* NULL when not given */
};

extern const struct ph_command *const ph_commands[]; /* ended by NULL */
extern const struct ph_cli_option ph_cli_common_options[];

/* The letter of an option that also has one ("-c"), or '\0'. */
char ph_cli_letter(const char *name);

/* The command of that name, or NULL. */
const struct ph_command *ph_command_find(const char *name);

/* Reads argv[1..] by the tables; argv[0] is the command's name. PH_E_USAGE names the word. */
int ph_cli_parse(struct ph_cli *cli, const struct ph_command *command, int argc, char **argv,
                 struct ph_error *err) PH_MUST_CHECK;
/* The value of an option, or NULL; a flag that was given has the value "". */
const char *ph_cli_get(const struct ph_cli *cli, const char *name);
/* The values of a repeated option: up to max of them into out; how many there are. */
size_t ph_cli_all(const struct ph_cli *cli, const char *name, const char **out, size_t max);
/* PH_E_USAGE unless the option was given. */
int ph_cli_need(const struct ph_cli *cli, const char *name, struct ph_error *err) PH_MUST_CHECK;

/* The page of `posthorn help COMMAND`; without a command, of posthorn. */
void ph_cli_help(const struct ph_command *command, struct ph_buf *out);
/* posthorn(1), in scdoc's language. */
void ph_cli_man(struct ph_buf *out);
/* Versions of posthorn and of all client libraries, one a line. */
void ph_cli_versions(struct ph_buf *out);
/* The same in one line: "posthorn 0.1.0, libpq 15.20, librdkafka 2.0.2". */
void ph_cli_versions_line(struct ph_buf *out);

/* "posthorn: TEXT" on stderr; the exit status of the error. */
int ph_cli_fail(const struct ph_error *err);
/* The same for many lines, each of them prefixed. */
void ph_cli_complain(const char *lines);
/* The same for the mistakes of a configuration; says when there are more than the buffer held. */
void ph_cli_complain_all(const struct ph_buf *problems);
/* Writes text to stdout, whole; an exit status. */
int ph_cli_print(const struct ph_buf *text);

/* The nearest of the candidates that next() yields is for messages: " (did you mean X?)" or "". */
void ph_cli_put_hint(struct ph_buf *out, const char *word, const char *const *names,
                     const char *prefix);

#endif
