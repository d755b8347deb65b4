/* A source and a sink with a few options, in place of the real registries: nothing is opened. */
#ifndef PH_TEST_FAKE_DRIVERS_H
#define PH_TEST_FAKE_DRIVERS_H

#include "core/sink.h"
#include "core/source.h"

struct fake_source_config {
    int64_t poll_max_ms;
    char *label;
};

struct fake_sink_config {
    struct ph_option_map kafka;
    bool tidy;
};

static const struct ph_option fake_source_options[] = {
    {"poll_max", PH_OPT_DURATION, offsetof(struct fake_source_config, poll_max_ms), "50ms", 1,
     60000, NULL, "longest wait"},
    {"label", PH_OPT_STRING, offsetof(struct fake_source_config, label), "none", 0, 0, NULL,
     "a text"},
    PH_OPTION_END,
};

static const struct ph_option fake_sink_options[] = {
    {"kafka.*", PH_OPT_MAP, offsetof(struct fake_sink_config, kafka), NULL, 0, 0, NULL, "passes"},
    {"tidy", PH_OPT_BOOL, offsetof(struct fake_sink_config, tidy), "yes", 0, 0, NULL, "a switch"},
    PH_OPTION_END,
};

static const struct ph_source_driver fake_source = {.name = "postgresql",
                                                    .summary = "a source",
                                                    .options = fake_source_options,
                                                    .config_size =
                                                        sizeof(struct fake_source_config)};
static const struct ph_sink_driver fake_sink = {.name = "kafka",
                                                .summary = "a sink",
                                                .options = fake_sink_options,
                                                .config_size = sizeof(struct fake_sink_config)};

const struct ph_source_driver *const ph_source_drivers[] = {&fake_source, NULL};
const struct ph_sink_driver *const ph_sink_drivers[] = {&fake_sink, NULL};

const struct ph_source_driver *ph_source_find(const char *uri)
{
    return strncmp(uri, "postgres", 8) == 0 || (strchr(uri, '=') && !strstr(uri, "://"))
               ? &fake_source
               : NULL;
}

const struct ph_sink_driver *ph_sink_find(const char *uri)
{
    return strncmp(uri, "kafka:", 6) == 0 ? &fake_sink : NULL;
}

#endif
