/* What the tests of the Kafka sink share: the sink in front of librdkafka's mock cluster. */
#ifndef PH_TEST_KAFKA_RIG_H
#define PH_TEST_KAFKA_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
/* in this order */
#include <librdkafka/rdkafka.h>

#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "core/sink.h"
#include "sink/kafka.h"

#define COUNT 200

struct rig {
    rd_kafka_t *owner; /* of the mock cluster */
    rd_kafka_mock_cluster_t *cluster;
    char uri[256];
    struct ph_sink_env env;
    struct ph_kafka_config config;
    void *sink;
    struct ph_batch *batch;
};

static inline void warn(const char *pipeline, const char *text)
{
    (void)pipeline;
    (void)text; /* the mock does not describe configs */
}

static inline void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static inline int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct ph_error err = {0};
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    r->owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    r->cluster = rd_kafka_mock_cluster_new(r->owner, 1);
    assert_non_null(r->cluster);
    (void)rd_kafka_mock_topic_create(r->cluster, "events", 1, 1);
    (void)snprintf(r->uri, sizeof r->uri, "kafka://%s",
                   rd_kafka_mock_cluster_bootstraps(r->cluster));
    r->env =
        (struct ph_sink_env){.pipeline = "t", .uri = r->uri, .window_batches = 4, .warn = warn};
    assert_int_equal(ph_options_defaults(ph_kafka_options, &r->config, &err), 0);
    assert_int_equal(ph_sink_kafka.open(&r->env, &r->config, &r->sink, &err), 0);
    r->batch = ph_batch_new(COUNT, 1 << 20);
    *state = r;
    return 0;
}

static inline int tear_down(void **state)
{
    struct rig *r = *state;
    ph_sink_kafka.close(r->sink);
    ph_options_free(ph_kafka_options, &r->config);
    ph_batch_free(r->batch);
    rd_kafka_mock_cluster_destroy(r->cluster);
    rd_kafka_destroy(r->owner);
    free(r);
    return 0;
}

static inline void fill(struct rig *r, size_t count)
{
    static const struct ph_tick_span span = {.tick = 1};
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = ph_batch_add(r->batch);
        assert_non_null(event);
        event->span = &span;
        event->position = (int64_t)i;
        event->topic = PH_STR("events");
        event->key = PH_STR("k");
        event->body = PH_STR("{}");
    }
}

static inline int submit(struct rig *r)
{
    struct ph_error err = {0};
    return ph_sink_kafka.submit(r->sink, r->batch, &err);
}

/* Polls until the batch is done or refused, or the sink is down when that is waited for; returns
 * the last status. */
static inline int poll_on(struct rig *r, bool until_down)
{
    struct ph_error err = {0};
    int64_t deadline_us = ph_clock_mono_us() + 30000000;
    for (;;) {
        int rc = ph_sink_kafka.poll(r->sink, 20, &err);
        if (ph_batch_done(r->batch) || r->batch->refused > 0 ||
            (until_down && rc == PH_E_UNAVAILABLE)) {
            return rc;
        }
        if (ph_clock_mono_us() > deadline_us) {
            fail_msg("%zu of %zu settled in time, status %d: %s", r->batch->settled,
                     r->batch->count, rc, err.text);
        }
    }
}

#define PRODUCE_KEY 0 /* of the protocol: ApiKey Produce */

#endif
