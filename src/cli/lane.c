/*
 * A pipeline's thread.
 * Place: between the supervisor, which starts and stops lanes, and core's pipeline.
 * Promise: whatever ends a pipeline is logged once, and leaves the others alone.
 */
#include "cli/lane.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "config/uri.h"

struct ph_lane {
    const struct ph_pipeline_config *config;
    struct ph_pipeline *_Atomic pipeline; /* NULL until it is made; freed by join */
    struct ph_stop stop;
    pthread_t thread;
    int ended_fd;
    atomic_bool ended;
    int rc; /* of the pipeline, once ended */
    struct ph_error err;
};

static void log_start(const struct ph_pipeline_config *config)
{
    struct ph_buf versions, from, to;
    ph_buf_init(&versions, 512);
    ph_buf_init(&from, 4096);
    ph_buf_init(&to, 4096);
    ph_cli_versions_line(&versions);
    ph_uri_redact(config->from, &from);
    ph_uri_redact(config->to, &to);
    ph_log(PH_LOG_INFO, config->name, "starting: %s; from %s to %s%s", ph_buf_text(&versions),
           ph_buf_text(&from), ph_buf_text(&to), config->once ? ", once" : "");
    ph_buf_free(&versions);
    ph_buf_free(&from);
    ph_buf_free(&to);
}

static void log_end(struct ph_lane *lane, const struct ph_pipeline *pipeline)
{
    const struct ph_pipeline_metrics *m = ph_pipeline_metrics(pipeline);
    const char *why = ph_stop_wanted(&lane->stop) ? "stopped" : "drained";
    if (lane->rc < 0) {
        ph_log(PH_LOG_ERROR, lane->config->name, "%s", lane->err.text);
        why = "ended with an error";
    }
    ph_log(PH_LOG_INFO, lane->config->name,
           "%s: %lld events sent in %lld batches, %lld checkpoints stored", why,
           (long long)m->events_sent, (long long)m->batches, (long long)m->checkpoints);
}

static void run_pipeline(struct ph_lane *lane)
{
    struct ph_pipeline *pipeline = NULL;
    log_start(lane->config);
    lane->rc = ph_pipeline_new(lane->config, &lane->stop, &pipeline, &lane->err);
    if (lane->rc < 0) {
        ph_log(PH_LOG_ERROR, lane->config->name, "%s", lane->err.text);
        return;
    }
    atomic_store(&lane->pipeline, pipeline);
    lane->rc = ph_pipeline_run(pipeline, &lane->err);
    log_end(lane, pipeline);
}

static void *lane_thread(void *arg)
{
    struct ph_lane *lane = arg;
    uint64_t one = 1;
    run_pipeline(lane);
    int fd = lane->ended_fd;
    atomic_store(&lane->ended, true); /* from here on the lane may be gone */
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* it can only fail when the counter is full, and then it is readable */
    return NULL;
}

static void lane_free(struct ph_lane *lane)
{
    ph_pipeline_free(atomic_load(&lane->pipeline));
    ph_stop_free(&lane->stop);
    ph_mem_free(lane);
}

int ph_lane_start(const struct ph_settings *settings, int ended_fd, struct ph_lane **ret,
                  struct ph_error *err)
{
    assert(settings && ended_fd >= 0 && ret);
    struct ph_lane *lane = ph_mem_zero(1, sizeof *lane);
    if (!lane) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a pipeline");
    }
    lane->config = &settings->pipeline;
    lane->ended_fd = ended_fd;
    lane->stop.fd = -1;
    int rc = ph_stop_init(&lane->stop, err);
    if (rc == 0 && pthread_create(&lane->thread, NULL, lane_thread, lane) != 0) {
        rc = ph_fail(err, PH_E_UNAVAILABLE, "no thread for pipeline %s", lane->config->name);
    }
    if (rc < 0) {
        lane_free(lane);
        return rc;
    }
    *ret = lane;
    return 0;
}

void ph_lane_stop(struct ph_lane *lane)
{
    ph_stop_request(&lane->stop);
}

bool ph_lane_ended(const struct ph_lane *lane)
{
    return atomic_load(&lane->ended);
}

const struct ph_pipeline_metrics *ph_lane_metrics(const struct ph_lane *lane)
{
    const struct ph_pipeline *pipeline = atomic_load(&lane->pipeline);
    return pipeline ? ph_pipeline_metrics(pipeline) : NULL;
}

int ph_lane_join(struct ph_lane *lane, struct ph_error *err)
{
    (void)pthread_join(lane->thread, NULL);
    int rc = lane->rc;
    if (rc < 0) {
        *err = lane->err;
    }
    lane_free(lane);
    return rc;
}
