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
