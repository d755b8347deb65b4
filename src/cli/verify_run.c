/*
 * Finds out whether the sink holds what the log says was delivered.
 * Place: below the commands verify and demo; the log's side is verify_log.c, the sink's the
 * driver's scan, the judgement verify_compare.c. Promise: reads only. The checkpoint is read first,
 * then the log, then the sink, and last the log is asked about whatever is left unexplained, so
 * that a pipeline may run meanwhile.
 */
#include "cli/verify_run.h"

#include "base/log.h"
#include "cli/verify_log.h"

struct verify {
    const struct ph_pipeline_config *config;
    struct ph_verify_log log;
    struct ph_compare *compare;
    struct ph_error scan_error; /* why taking in a record failed */
    struct ph_verify_result *found;
};

static void warn(const char *pipeline, const char *text)
{
    ph_log(PH_LOG_WARN, pipeline, "%s", text);
}

static int take_record(void *arg, const struct ph_record *record)
{
    struct verify *verify = arg;
    return ph_compare_record(verify->compare, record, &verify->scan_error);
}

static int scan_sink(struct verify *verify, struct ph_stop *stop, struct ph_error *err)
{
    const struct ph_pipeline_config *config = verify->config;
    bool topics = config->sink->caps & PH_SINK_RECORDS;
    if (topics && verify->log.topic_count == 0) {
        return 0; /* nothing was ever sent anywhere */
    }
    struct ph_sink_env env = {.pipeline = config->name,
                              .uri = config->to,
                              .window_batches = (size_t)config->options.window,
                              .stop = stop,
                              .warn = warn};
    int rc = config->sink->scan(&env, config->sink_config, verify->log.topics,
                                verify->log.topic_count, take_record, verify, err);
    if (rc < 0 && verify->scan_error.code < 0) {
        *err = verify->scan_error;
    }
    return rc;
}

static int read_log(struct verify *verify, struct ph_error *err)
{
    const struct ph_pipeline_config *config = verify->config;
    struct ph_route *route = NULL;
    int rc = ph_verify_log_open(&verify->log, config->from, config->name, err);
    if (rc == 0) {
        rc = ph_compare_new(verify->log.estimate, &verify->compare, err);
    }
    if (rc == 0 && config->sink->caps & PH_SINK_RECORDS) {
        rc = ph_route_new(config->route, &route, err);
    }
    if (rc == 0) {
        rc = ph_verify_log_read(&verify->log, config->match, route, verify->compare, err);
    }
    ph_route_free(route);
    return rc;
}

static int compare(struct verify *verify, struct ph_error *err)
{
    struct ph_stop stop;
    int rc = read_log(verify, err);
    if (rc < 0) {
        return rc;
    }
    rc = ph_stop_init(&stop, err);
    if (rc < 0) {
        return rc;
    }
    rc = scan_sink(verify, &stop, err);
    ph_stop_free(&stop);
    if (rc == 0) {
        rc = ph_verify_log_reopen(&verify->log, verify->config->from, err);
    }
    if (rc == 0) {
        struct ph_compare_lookup lookup = {ph_verify_log_ask, &verify->log};
        rc = ph_compare_finish(verify->compare, &lookup, &verify->found->compare, err);
    }
    if (rc == 0) {
        rc = ph_verify_log_pending(&verify->log, &verify->found->pending,
                                   &verify->found->pending_estimated, err);
    }
    return rc;
}

/* --- judgement ---------------------------------------------------------------------------------
 */

/* A breach of the guarantee whatever was asked for, not only of exactly once. */
static const bool always[PH_FAULT_COUNT] = {
    [PH_FAULT_MISSING] = true,
    [PH_FAULT_OUT_OF_ORDER] = true,
    [PH_FAULT_PHANTOM] = true,
};

bool ph_verify_counts(const struct ph_verify_result *found, int fault)
{
    return always[fault] || found->strict;
}

static bool held(const struct ph_verify_result *found)
{
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        if (ph_verify_counts(found, fault) && found->compare.faults[fault] > 0) {
            return false;
        }
    }
    return true;
}

int ph_verify_run(const struct ph_pipeline_config *config, bool strict,
                  struct ph_verify_result *ret, struct ph_error *err)
{
    *ret = (struct ph_verify_result){.strict = strict};
    const struct ph_outbox_driver *log = ph_outbox_find(config->from);
    if (!log || !log->verify_begin) {
        return ph_fail(err, PH_E_CONFIG, "verify cannot read a log of kind %s",
                       config->source->name);
    }
    if (!config->sink->scan) {
        return ph_fail(err, PH_E_CONFIG, "a sink of kind %s cannot be read back",
                       config->sink->name);
    }
    struct verify verify = {.config = config, .found = ret};
    int rc = compare(&verify, err);
    ret->skipped = verify.log.skipped;
    ret->ok = held(ret);
    ph_compare_free(verify.compare);
    ph_verify_log_close(&verify.log);
    return rc;
}
