/*
 * Takes the command line away from other people's eyes.
 * Place: the first thing main does, before anything can wait.
 * Promise: a word with a password is shown redacted from then on; the command works on copies.
 */
#include "cli/argv.h"

#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "config/uri.h"
#include "core/sink.h"
#include "core/source.h"

/* Overwrites a word, or its part from `from` on, in place; never longer than it was. */
static void overwrite(char *word, size_t from, const char *shown)
{
    size_t len = strlen(word);
    size_t room = len - from;
    size_t used = strlen(shown) < room ? strlen(shown) : room;
    memset(word + from, '\0', room);
    memcpy(word + from, shown, used);
}

/* "sink.kafka.sasl.password=x", also behind "--set=". */
static bool hide_setting(char *word)
{
    char *from = strncmp(word, "--set=", 6) == 0 ? word + 6 : word;
    char *equals = strchr(from, '=');
    if (!equals || *from == '-' || strpbrk(from, " {\"") ||
        !ph_name_is_secret((struct ph_str){from, (size_t)(equals - from)})) {
        return false;
    }
    overwrite(word, (size_t)(equals - word) + 1, "***");
    return true;
}

static bool looks_like_uri(const char *word)
{
    return ph_source_find(word) || ph_sink_find(word);
}

static bool hide_uri_at(char *word, char *uri)
{
    if (*uri == '-' || !looks_like_uri(uri) || !ph_uri_has_secret(uri)) {
        return false;
    }
    struct ph_buf shown;
    ph_buf_init(&shown, PH_CLI_PAGE_MAX);
    ph_uri_redact(uri, &shown);
    overwrite(word, (size_t)(uri - word), ph_buf_text(&shown));
    ph_buf_free(&shown);
    return true;
}

/* A connection string, also behind "--from=", "orders.source.uri=" and "--set=*.source.uri=". */
static bool hide_uri(char *word)
{
    for (char *at = word; at; at = strchr(at, '=')) {
        at += at != word;
        if (hide_uri_at(word, at)) {
            return true;
        }
    }
    return false;
}

int ph_argv_take(struct ph_argv *out, int argc, char **argv, struct ph_error *err)
{
    *out = (struct ph_argv){0};
    out->words = ph_mem_zero((size_t)argc + 1, sizeof *out->words);
    for (int i = 0; out->words && i < argc; i++) {
        out->words[i] = ph_mem_strdup(argv[i]);
        if (!out->words[i]) {
            break;
        }
        out->count++;
    }
    if (!out->words || out->count < argc) {
        ph_argv_free(out);
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    for (int i = 1; i < argc; i++) {
        bool hidden = hide_setting(argv[i]) || hide_uri(argv[i]);
        out->scrubbed = out->scrubbed || hidden;
    }
    return 0;
}

void ph_argv_free(struct ph_argv *args)
{
    for (int i = 0; args->words && i < args->count; i++) {
        ph_mem_free(args->words[i]);
    }
    ph_mem_free(args->words);
    *args = (struct ph_argv){0};
}
