/* The options of a pipeline itself: the keys without a prefix. */
#include "core/pipeline.h"

#define AT(member) offsetof(struct ph_pipeline_options, member)

const struct ph_option ph_pipeline_option_table[] = {
    {"start", PH_OPT_STRING, AT(start), "earliest", 0, 0, NULL,
     "where a pipeline without a checkpoint begins: earliest, latest or a time; "
     "after:TICK-POSITION skips that event"},
    {"delivery", PH_OPT_ENUM, AT(delivery), "at-least-once", 0, 0, "at-least-once",
     "the guarantee asked for"},
    {"batch_events", PH_OPT_INT, AT(batch_events), "4000", 1, 100000, NULL,
     "events in a batch at most"},
    {"batch_bytes", PH_OPT_SIZE, AT(batch_bytes), "4MiB", 65536, 1LL << 30, NULL,
     "bytes in a batch at most (one event always fits)"},
    {"window", PH_OPT_INT, AT(window), "4", 1, 64, NULL, "batches in flight at most"},
    {"settle_interval", PH_OPT_DURATION, AT(settle_interval_ms), "100ms", 1, 60000, NULL,
     "a checkpoint is stored at most this often"},
    {"drain_timeout", PH_OPT_DURATION, AT(drain_timeout_ms), "10s", 0, 600000, NULL,
     "at a stop, time for what is in flight"},
    {"lease", PH_OPT_DURATION, AT(lease_ms), "5s", 500, 600000, NULL,
     "how long a dead instance keeps its pipeline"},
    {"maintain_interval", PH_OPT_DURATION, AT(maintain_interval_ms), "60s", 0, 86400000, NULL,
     "how often settled events past their retention are cleared; 0 = never"},
    {"backoff_initial", PH_OPT_DURATION, AT(backoff_initial_ms), "100ms", 1, 60000, NULL,
     "first wait when source or sink is down"},
    {"backoff_max", PH_OPT_DURATION, AT(backoff_max_ms), "5s", 1, 3600000, NULL,
     "longest wait when source or sink is down"},
    PH_OPTION_END,
};
