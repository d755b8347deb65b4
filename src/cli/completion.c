/*
 * What the completions of all shells share: the kinds of words and the walks over the tables.
 * Place: between the commands' tables and completion_SHELL.c.
 * Promise: a command, an option or a key of --set that exists is in every walk, without a list
 * here.
 */
#include "cli/completion.h"

#include <string.h>

#include "cli/commands.h"
#include "config/docs.h"
#include "core/sink.h"
#include "core/source.h"

static const struct {
    const char *arg; /* exactly this, or with a '*' in front: anything that ends so */
    enum ph_word word;
} kinds[] = {
    {"DB-URI", PH_WORD_SOURCE},     {"SINK-URI", PH_WORD_SINK},  {"COMMAND", PH_WORD_COMMAND},
    {"KEY=VALUE", PH_WORD_SETTING}, {"*@FILE", PH_WORD_AT_FILE}, {"*FILE", PH_WORD_FILE},
    {"*FILE|-", PH_WORD_FILE},      {"*PATH", PH_WORD_FILE},     {"*DIR", PH_WORD_FOLDER},
    {"*FOLDER", PH_WORD_FOLDER},
};

enum ph_word ph_word_of(const char *arg)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (ph_str_glob(ph_str_from(kinds[i].arg), ph_str_from(arg))) {
            return kinds[i].word;
        }
    }
    return strchr(arg, '|') ? PH_WORD_CHOICE : PH_WORD_TEXT;
}

const char *ph_word_name(enum ph_word word)
{
    static const char *const names[] = {
        [PH_WORD_TEXT] = "text",       [PH_WORD_CHOICE] = "choice", [PH_WORD_FILE] = "file",
        [PH_WORD_AT_FILE] = "at_file", [PH_WORD_FOLDER] = "folder", [PH_WORD_COMMAND] = "command",
        [PH_WORD_SETTING] = "setting", [PH_WORD_SOURCE] = "source", [PH_WORD_SINK] = "sink",
    };
    return names[word];
}

void ph_each_option(struct ph_buf *out, const struct ph_command *command, ph_put_option *put)
{
    const struct ph_cli_option *tables[] = {command ? command->options : NULL,
                                            ph_cli_common_options};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const struct ph_cli_option *row = tables[i]; row && row->name; row++) {
            put(out, command, row);
        }
    }
}

/* --- the keys of --set -------------------------------------------------------------------------
 */

#define KEYS_MAX ((size_t)64 << 10)

struct settings {
    struct ph_buf *out;
    struct ph_buf seen; /* " key key" */
    ph_put_setting *put;
};

static void put_setting(struct settings *settings, const char *prefix, const struct ph_option *row)
{
    const char *star = strchr(row->name, '*');
    int len = star ? (int)(star - row->name) : (int)strlen(row->name);
    struct ph_buf key;
    ph_buf_init(&key, 256);
    ph_buf_printf(&key, " %s%s%.*s%s", prefix, *prefix ? "." : "", len, row->name, star ? "" : "=");
    if (!strstr(ph_buf_text(&settings->seen), ph_buf_text(&key))) { /* two drivers may share one */
        ph_buf_put_str(&settings->seen, ph_buf_str(&key));
        settings->put(settings->out, ph_buf_text(&key) + 1, row);
    }
    ph_buf_free(&key);
}

static void put_table(struct settings *settings, const char *prefix, const struct ph_option *table)
{
    for (; table && table->name; table++) {
        put_setting(settings, prefix, table);
    }
}

void ph_each_setting(struct ph_buf *out, ph_put_setting *put)
{
    static const struct ph_option rules = {
        .name = "rules.*",
        .type = PH_OPT_MAP,
        .help = "rule N (0, 1, ...): N.event_type, N.aggregate_type, N.topic, N.key, N.envelope",
    };
    struct settings settings = {.out = out, .put = put};
    ph_buf_init(&settings.seen, KEYS_MAX);
    struct ph_docs_section section;
    for (size_t n = 0; ph_docs_section(n, &section); n++) {
        put_table(&settings, section.family, section.table);
    }
    put_setting(&settings, "route", &rules);
    ph_buf_free(&settings.seen);
}

const char *ph_setting_choices(const struct ph_option *row)
{
    return row->type == PH_OPT_BOOL ? "true|false" : row->type == PH_OPT_ENUM ? row->choices : NULL;
}

/* --- texts -------------------------------------------------------------------------------------
 */

/* The driver for tests is no kind of URI that a person types. */
static void put_uri(struct ph_buf *out, const char *name, const char *summary)
{
    if (strcmp(name, "memory") == 0) {
        return;
    }
    const char *at = strstr(summary, "://");
    size_t len = strlen(name);
    bool host = at && (size_t)(at - summary) >= len && memcmp(at - len, name, len) == 0;
    ph_buf_printf(out, " %s:%s", name, host ? "//" : "");
}

void ph_put_uris(struct ph_buf *out, enum ph_word word)
{
    for (size_t i = 0; word == PH_WORD_SOURCE && ph_source_drivers[i]; i++) {
        put_uri(out, ph_source_drivers[i]->name, ph_source_drivers[i]->summary);
    }
    for (size_t i = 0; word == PH_WORD_SINK && ph_sink_drivers[i]; i++) {
        put_uri(out, ph_sink_drivers[i]->name, ph_sink_drivers[i]->summary);
    }
}

void ph_put_choices(struct ph_buf *out, const char *choices, const char *before)
{
    for (const char *at = choices; at && *at;) {
        int len = (int)strcspn(at, "|");
        ph_buf_printf(out, " %s%.*s", before, len, at);
        at += len + (at[len] == '|');
    }
}

void ph_put_quoted(struct ph_buf *out, const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'') {
            ph_buf_puts(out, strchr(special, '\'') ? "\\'" : "'\\''");
            continue;
        }
        if (strchr(special, *text)) {
            ph_buf_putc(out, '\\');
        }
        ph_buf_putc(out, *text);
    }
}
