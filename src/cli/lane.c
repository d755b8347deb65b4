/*
 * A pipeline's threads, one a shard.
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

/* One shard of the pipeline: a thread of its own. */
struct shard {
    struct ph_lane *lane;
    struct ph_pipeline_config config;
    struct ph_pipeline *_Atomic pipeline; /* NULL until it is made; freed by join */
    pthread_t thread;
    bool started;
    int rc; /* of the pipeline, once its thread is over */
    struct ph_error err;
};

struct ph_lane {
    const struct ph_pipeline_config *config;
    struct ph_stop stop; /* of all shards: one that ends with an error ends the others */
    int ended_fd;
    atomic_int running; /* shards */
    size_t count;
    struct shard shards[];
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

static void log_end(struct shard *shard, const struct ph_pipeline *pipeline)
{
    const struct ph_pipeline_metrics *m = ph_pipeline_metrics(pipeline);
    const char *why = ph_stop_wanted(&shard->lane->stop) ? "stopped" : "drained";
    if (shard->rc < 0) {
        ph_log(PH_LOG_ERROR, shard->config.name, "%s", shard->err.text);
        why = "ended with an error";
    }
    ph_log(PH_LOG_INFO, shard->config.name,
           "%s: %lld events sent in %lld batches, %lld checkpoints stored", why,
           (long long)m->events_sent, (long long)m->batches, (long long)m->checkpoints);
}

static void run_pipeline(struct shard *shard)
{
    struct ph_pipeline *pipeline = NULL;
    shard->rc = ph_pipeline_new(&shard->config, &shard->lane->stop, &pipeline, &shard->err);
    if (shard->rc < 0) {
        ph_log(PH_LOG_ERROR, shard->config.name, "%s", shard->err.text);
        return;
    }
    atomic_store(&shard->pipeline, pipeline);
    shard->rc = ph_pipeline_run(pipeline, &shard->err);
    log_end(shard, pipeline);
}

static void *shard_thread(void *arg)
{
    struct shard *shard = arg;
    struct ph_lane *lane = shard->lane;
    uint64_t one = 1;
    run_pipeline(shard);
    if (shard->rc < 0) {
        ph_stop_request(&lane->stop);
    }
    int fd = lane->ended_fd;
    bool last = atomic_fetch_sub(&lane->running, 1) == 1; /* from here on the lane may be gone */
    if (last) {
        ssize_t written = write(fd, &one, sizeof one);
        (void)written; /* it can only fail when the counter is full, and then it is readable */
    }
    return NULL;
}

/* Waits for the threads that were started; the first error of any. */
static int join_shards(struct ph_lane *lane, struct ph_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < lane->count; i++) {
        struct shard *shard = &lane->shards[i];
        if (!shard->started) {
            continue;
        }
        (void)pthread_join(shard->thread, NULL);
        if (rc == 0 && shard->rc < 0) {
            rc = shard->rc;
            *err = shard->err;
        }
    }
    return rc;
}

static void lane_free(struct ph_lane *lane)
{
    for (size_t i = 0; i < lane->count; i++) {
        ph_pipeline_free(atomic_load(&lane->shards[i].pipeline));
    }
    ph_stop_free(&lane->stop);
    ph_mem_free(lane);
}

static int start_shards(struct ph_lane *lane, struct ph_error *err)
{
    for (size_t i = 0; i < lane->count; i++) {
        struct shard *shard = &lane->shards[i];
        shard->lane = lane;
        shard->config = *lane->config;
        shard->config.shard = (int)i;
        if (pthread_create(&shard->thread, NULL, shard_thread, shard) != 0) {
            return ph_fail(err, PH_E_UNAVAILABLE, "no thread for pipeline %s", lane->config->name);
        }
        shard->started = true;
    }
    return 0;
}

int ph_lane_start(const struct ph_settings *settings, int ended_fd, struct ph_lane **ret,
                  struct ph_error *err)
{
    assert(settings && ended_fd >= 0 && ret);
    size_t count = (size_t)settings->pipeline.options.shards;
    struct ph_lane *lane = ph_mem_zero(1, sizeof *lane + count * sizeof *lane->shards);
    if (!lane) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a pipeline");
    }
    lane->config = &settings->pipeline;
    lane->ended_fd = ended_fd;
    lane->count = count;
    lane->stop.fd = -1;
    atomic_init(&lane->running, (int)count);
    log_start(lane->config);
    int rc = ph_stop_init(&lane->stop, err);
    if (rc == 0) {
        rc = start_shards(lane, err);
    }
    if (rc < 0) {
        struct ph_error ignored;
        if (lane->stop.fd >= 0) {
            ph_stop_request(&lane->stop);
        }
        (void)join_shards(lane, &ignored);
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
    return atomic_load(&lane->running) == 0;
}

const struct ph_pipeline_metrics *ph_lane_metrics(const struct ph_lane *lane)
{
    const struct ph_pipeline *pipeline = atomic_load(&lane->shards[0].pipeline);
    return pipeline ? ph_pipeline_metrics(pipeline) : NULL;
}

int ph_lane_join(struct ph_lane *lane, struct ph_error *err)
{
    int rc = join_shards(lane, err);
    lane_free(lane);
    return rc;
}
