/*
 * What the three shells' completions are made from: the commands' tables, and what a word of each
 * kind may be. Every shell has a file of its own; `posthorn completion SHELL` writes it.
 */
#ifndef PH_CLI_COMPLETION_H
#define PH_CLI_COMPLETION_H

#include "cli/cli.h"
#include "core/option.h"

/* What a value may be completed with. */
enum ph_word {
    PH_WORD_TEXT, /* nothing */
    PH_WORD_CHOICE,
    PH_WORD_FILE,
    PH_WORD_AT_FILE, /* a file behind '@' */
    PH_WORD_FOLDER,
    PH_WORD_COMMAND,
    PH_WORD_SETTING, /* a key of --set */
    PH_WORD_SOURCE,  /* a database's URI */
    PH_WORD_SINK,
};

/* The kind of a value, by what the tables call it: "FILE", "DB-URI", "logfmt|json". */
enum ph_word ph_word_of(const char *arg);
/* The name of a kind in the scripts. */
const char *ph_word_name(enum ph_word word);

/* The options of a command (of none: NULL), then those of every command. */
typedef void ph_put_option(struct ph_buf *out, const struct ph_command *command,
                           const struct ph_cli_option *option);
void ph_each_option(struct ph_buf *out, const struct ph_command *command, ph_put_option *put);

/* Every key of --set once, as "source.poll_min=", a map's as "sink.kafka.". */
typedef void ph_put_setting(struct ph_buf *out, const char *key, const struct ph_option *row);
void ph_each_setting(struct ph_buf *out, ph_put_setting *put);
/* The choices of a key of --set, '|' between; NULL when it has none. */
const char *ph_setting_choices(const struct ph_option *row);

/* What URIs of a source or a sink begin with, and the choices of "a|b" with a text before each;
 * a space in front of each. */
void ph_put_uris(struct ph_buf *out, enum ph_word word);
void ph_put_choices(struct ph_buf *out, const char *choices, const char *before);
/* Text, each character that is one of special behind a '\'; "'" as the shell wants it in '...'. */
void ph_put_quoted(struct ph_buf *out, const char *text, const char *special);

/* The scripts. */
void ph_completion_bash(struct ph_buf *out);
void ph_completion_zsh(struct ph_buf *out);
void ph_completion_fish(struct ph_buf *out);

#endif
