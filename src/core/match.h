/*
 * Which events of a log a pipeline delivers: by type, aggregate type and headers. What does not
 * match is passed over and settled, so one log fans out to several pipelines, and urgent events can
 * have a lane of their own.
 *
 * A pattern is a glob (* and ?), several of them separated by '|', all of it negated by a leading
 * '!': "OrderPlaced|Order*Cancelled", "!Telemetry*".
 */
#ifndef PH_CORE_MATCH_H
#define PH_CORE_MATCH_H

#include "core/batch.h"
#include "core/option.h"

struct ph_match_config {
    char *event_type, *aggregate_type; /* patterns; NULL matches all */
    struct ph_option_map headers;      /* name to pattern; an event without the header has "" */
};

/* match.event_type, match.aggregate_type, match.header.NAME */
extern const struct ph_option ph_match_options[];

/* Whether there is anything to match; NULL means no. */
bool ph_match_wanted(const struct ph_match_config *config);
/* Whether an event matches: 1, 0, or PH_E_NOMEM. What cannot be read of an event matches, so that
 * it is refused by name and not passed over in silence. */
int ph_match_event(const struct ph_match_config *config, struct ph_arena *arena,
                   const struct ph_event *event, struct ph_error *err) PH_MUST_CHECK;
/* Takes the events that do not match out of a batch that was not submitted; returns how many. When
 * the last one goes, the batch's end takes its place, so that the checkpoint passes it. */
int ph_match_batch(const struct ph_match_config *config, struct ph_batch *batch,
                   struct ph_error *err) PH_MUST_CHECK;

#endif
