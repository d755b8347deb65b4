/* The options of a pipeline itself: the keys without a prefix, and those below retry. */
#include "core/pipeline.h"

#define AT(member)    offsetof(struct ph_pipeline_options, member)
#define RETRY(member) offsetof(struct ph_retry_options, member)

const struct ph_option ph_pipeline_option_table[] = {
    {"start", PH_OPT_STRING, AT(start), "earliest", 0, 0, NULL,
     "where a pipeline without a checkpoint begins: earliest, latest or a time"},
    {"delivery", PH_OPT_ENUM, AT(delivery), "at-least-once", 0, 0, "at-least-once|exactly-once",
     "the guarantee asked for; exactly-once needs a sink that can hold the checkpoint"},
    {"batch_events", PH_OPT_INT, AT(batch_events), "4000", 1, 100000, NULL,
     "events in a batch at most"},
    {"batch_bytes", PH_OPT_SIZE, AT(batch_bytes), "4MiB", 65536, 1LL << 30, NULL,
     "bytes in a batch at most (one event always fits)"},
    {"window", PH_OPT_INT, AT(window), "4", 1, 64, NULL,
     "batches in flight at most; exactly-once: three times as many"},
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
    {"on_dead", PH_OPT_ENUM, AT(on_dead), "hold", 0, 0, "hold|skip|stop",
     "a dead event lets its key wait for a person, lets its key go on without it, or stops the "
     "pipeline"},
    {"park_max", PH_OPT_INT, AT(park_max), "100000", 1, 100000000, NULL,
     "parked and dead events at most; beyond it the log is not read on until there is room"},
    {"rate", PH_OPT_INT, AT(rate), "0", 0, 10000000, NULL,
     "events a second that the sink is given at most; 0 = no limit"},
    {"shards", PH_OPT_INT, AT(shards), "1", 1, 64, NULL,
     "how many parts of the log are delivered beside each other, by aggregate_id"},
    PH_OPTION_END,
};

const struct ph_option ph_retry_option_table[] = {
    {"initial", PH_OPT_DURATION, RETRY(initial_ms), "100ms", 1, 3600000, NULL,
     "first wait of an event that failed, before it is tried again"},
    {"max", PH_OPT_DURATION, RETRY(max_ms), "5m", 1, 86400000, NULL,
     "longest wait between two attempts of an event"},
    {"multiplier", PH_OPT_INT, RETRY(multiplier), "2", 1, 10, NULL,
     "how much longer each wait is than the one before"},
    {"attempts", PH_OPT_INT, RETRY(attempts), "20", 1, 1000000, NULL,
     "attempts of an event until it is dead"},
    PH_OPTION_END,
};
