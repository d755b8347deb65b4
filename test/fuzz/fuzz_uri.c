/*
 * Fuzz target: what a person writes behind --from, --to and --set, one a line. Nothing crashes,
 * what is shown holds no control byte, a start that is taken is in range, and every mistake of the
 * settings is one line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"
#include "config/uri.h"

#define WORDS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void redact(const char *uri)
{
    struct ph_buf out;
    ph_buf_init(&out, (size_t)1 << 20);
    ph_uri_redact(uri, &out);
    for (size_t i = 0; i < out.len && !ph_source_find(uri); i++) {
        must((unsigned char)out.ptr[i] >= 0x20 && out.ptr[i] != 0x7f);
    }
    bool same = ph_str_eq(ph_buf_str(&out), ph_str_from(uri));
    must(ph_uri_has_secret(uri) || same || ph_source_find(uri));
    ph_buf_free(&out);
}

static void start(const char *text)
{
    struct ph_start out;
    if (ph_start_parse(ph_str_from(text), &out, NULL) == 0) {
        must(out.kind != PH_START_TIME ||
             (out.time_us > -INT64_C(86400000000) && out.time_us < INT64_C(253402387200000000)));
    }
}

static void settings(const char *const *words, size_t count)
{
    struct ph_settings settings = {0};
    struct ph_settings_args args = {.from = words[0],
                                    .to = words[1],
                                    .name = words[2],
                                    .assignments = words + 3,
                                    .assignment_count = count - 3};
    struct ph_buf problems;
    ph_buf_init(&problems, (size_t)1 << 20);
    int rc = ph_settings_load(&settings, &args, &problems);
    must((rc == 0) == (problems.len == 0));
    must(problems.len == 0 || problems.ptr[problems.len - 1] == '\n');
    ph_settings_free(&settings);
    ph_buf_free(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    const char *words[WORDS_MAX];
    size_t count = 0;
    char *rest = text;
    while (rest && count < WORDS_MAX) {
        words[count++] = rest;
        char *end = strchr(rest, '\n');
        if (end) {
            *end++ = '\0';
        }
        rest = end;
    }
    for (size_t i = 0; i < count; i++) {
        redact(words[i]);
        start(words[i]);
    }
    if (count > 3) {
        settings(words, count);
    }
    free(text);
    return 0;
}
