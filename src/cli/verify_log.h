/* The log's side of verify: which events a pipeline has settled, and into which topics they went.
 */
#ifndef PH_CLI_VERIFY_LOG_H
#define PH_CLI_VERIFY_LOG_H

#include "cli/database.h"
#include "cli/verify_compare.h"
#include "core/match.h"
#include "core/route.h"

#define PH_VERIFY_TOPICS_MAX ((size_t)10000)

struct ph_verify_log {
    struct ph_database db;
    const char *pipeline;
    int64_t estimate; /* rows of the log, about */
    int64_t skipped;  /* events that an operator skipped */
    int64_t oldest;   /* below it everything may have been cleared; INT64_MAX when all */
    struct ph_arena topic_text;
    struct ph_str *topics; /* distinct; a hash table of topic_slots until ph_verify_log_topics */
    size_t topic_slots, topic_count;
};

/* Connects and reads the pipeline's checkpoint. PH_E_CONFIG when it has none. */
int ph_verify_log_open(struct ph_verify_log *log, const char *uri, const char *pipeline,
                       struct ph_error *err) PH_MUST_CHECK;
void ph_verify_log_close(struct ph_verify_log *log);

/* Gives every settled event that matches (match NULL: each) to compare; with a route, collects the
 * topics they go to. */
int ph_verify_log_read(struct ph_verify_log *log, const struct ph_match_config *match,
                       const struct ph_route *route, struct ph_compare *compare,
                       struct ph_error *err) PH_MUST_CHECK;

/* Connects anew, after the time that a sink's scan took, and reads what the log retains now. */
int ph_verify_log_reopen(struct ph_verify_log *log, const char *uri,
                         struct ph_error *err) PH_MUST_CHECK;
/* For ph_compare_finish; arg is the log. */
int ph_verify_log_ask(void *arg, const struct ph_finding *records, size_t count,
                      enum ph_origin *out, struct ph_error *err) PH_MUST_CHECK;
/* Events behind the checkpoint. */
int ph_verify_log_pending(struct ph_verify_log *log, int64_t *ret, bool *ret_estimated,
                          struct ph_error *err) PH_MUST_CHECK;

#endif
