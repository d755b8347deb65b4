/*
 * What all pages of the configuration share: the sections in their order, and the few keys that
 * stand in no option table since settings reads them itself.
 * Place: below the files docs_*.c, one a format.
 */
#include "config/docs.h"

#include "core/pipeline.h"

const struct ph_docs_key ph_docs_keys[] = {
    {"source", "uri", "text", "the database with the log: postgresql://... or sqlite:PATH"},
    {"source", "uri_file", "text", "a file that holds the URI, instead of uri"},
    {"sink", "uri", "text",
     "where the events go: kafka://HOST:PORT[,HOST:PORT], file:PATH, stdout:"},
    {"sink", "uri_file", "text", "a file that holds the URI, instead of uri"},
    {"route", "rules", "list",
     "rules, the first that matches wins; each has event_type or aggregate_type (globs) and what "
     "it "
     "changes: topic, key, envelope"},
    {NULL, NULL, NULL, NULL},
};

static const struct ph_docs_section fixed[] = {
    {"", NULL, "the pipeline itself", ph_pipeline_option_table},
    {"match", NULL, "which events of the log the pipeline delivers; all without it",
     ph_match_options},
    {"route", NULL, "where an event goes and in which clothes, for sinks with topics",
     ph_route_options},
    {"retry", NULL, "the attempts of one event that the sink refuses for now",
     ph_retry_option_table},
};

#define FIXED_COUNT (sizeof fixed / sizeof fixed[0])

bool ph_docs_section(size_t n, struct ph_docs_section *ret)
{
    if (n < FIXED_COUNT) {
        *ret = fixed[n];
        return true;
    }
    n -= FIXED_COUNT;
    for (size_t i = 0; ph_source_drivers[i]; i++) {
        const struct ph_source_driver *driver = ph_source_drivers[i];
        if (n-- == 0) {
            *ret =
                (struct ph_docs_section){"source", driver->name, driver->summary, driver->options};
            return true;
        }
    }
    for (size_t i = 0; ph_sink_drivers[i]; i++) {
        const struct ph_sink_driver *driver = ph_sink_drivers[i];
        if (n-- == 0) {
            *ret = (struct ph_docs_section){"sink", driver->name, driver->summary, driver->options};
            return true;
        }
    }
    return false;
}

static void walk_section(struct ph_buf *out, const struct ph_docs_format *format,
                         const struct ph_docs_section *section, bool first)
{
    format->begin(out, section);
    for (const struct ph_docs_key *key = ph_docs_keys; first && key->family; key++) {
        if (strcmp(key->family, section->family) == 0) {
            format->key(out, key->family, key->name, key->type, NULL, key->help);
        }
    }
    for (const struct ph_option *row = section->table; row->name; row++) {
        struct ph_buf value;
        ph_buf_init(&value, 1024);
        ph_option_describe(row, &value);
        format->key(out, section->family, row->name, ph_buf_text(&value), row->fallback, row->help);
        ph_buf_free(&value);
    }
    format->end(out);
}

void ph_docs_walk(struct ph_buf *out, const struct ph_docs_format *format)
{
    struct ph_docs_section section;
    const char *family = "-"; /* the keys without a table stand in the first section of theirs */
    for (size_t n = 0; ph_docs_section(n, &section); n++) {
        walk_section(out, format, &section, strcmp(family, section.family) != 0);
        family = section.family;
    }
}
