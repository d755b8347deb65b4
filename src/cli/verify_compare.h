/*
 * Compares what a log says was delivered with what a sink holds, in bounded memory: both sides go
 * through temporary files, split by the hash of the event's id, then one part after the other is
 * looked at. Give all events and all records in any mixture, then finish.
 */
#ifndef PH_CLI_VERIFY_COMPARE_H
#define PH_CLI_VERIFY_COMPARE_H

#include <stdbool.h>

#include "core/sink.h"
#include "outbox/outbox.h"

enum ph_fault {
    PH_FAULT_MISSING,      /* settled in the log, not in the sink */
    PH_FAULT_DUPLICATED,   /* an event that the sink holds more than once */
    PH_FAULT_OUT_OF_ORDER, /* first delivery behind that of a later event of its key and lane, or
                              under a position that is not the log's */
    PH_FAULT_PHANTOM,      /* in the sink, and the log would have to know it but does not */
    PH_FAULT_COUNT,
};

#define PH_COMPARE_FINDINGS_MAX 10 /* of each fault */

struct ph_finding {
    struct ph_uuid id;
    struct ph_position at; /* tick 0 where it is not known */
};

struct ph_compare_result {
    int64_t events, records;
    int64_t faults[PH_FAULT_COUNT];
    int64_t beyond_log; /* records older than what the log retains */
    struct ph_finding findings[PH_FAULT_COUNT][PH_COMPARE_FINDINGS_MAX];
    size_t finding_count[PH_FAULT_COUNT];
};

#define PH_COMPARE_LOOKUP_MAX ((size_t)1000)

struct ph_compare_lookup {
    int (*ask)(void *arg, const struct ph_finding *records, size_t count, enum ph_origin *out,
               struct ph_error *err); /* count is at most PH_COMPARE_LOOKUP_MAX */
    void *arg;
};

struct ph_compare;

/* For a log of about that many events. */
int ph_compare_new(int64_t events_estimate, struct ph_compare **ret,
                   struct ph_error *err) PH_MUST_CHECK;
void ph_compare_free(struct ph_compare *compare);

/* One event that the pipeline has settled. */
int ph_compare_event(struct ph_compare *compare, const struct ph_uuid *id, int64_t position,
                     struct ph_error *err) PH_MUST_CHECK;
/* One record of the sink; those of a lane in the sink's order. */
int ph_compare_record(struct ph_compare *compare, const struct ph_record *record,
                      struct ph_error *err) PH_MUST_CHECK;
/* To be called once. */
int ph_compare_finish(struct ph_compare *compare, const struct ph_compare_lookup *lookup,
                      struct ph_compare_result *ret, struct ph_error *err) PH_MUST_CHECK;

#endif
