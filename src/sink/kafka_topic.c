/*
 * Topics: found by name in a small hash table, asked about once. The first message to a topic that
 * librdkafka does not know waits up to a second, so metadata is fetched first; max.message.bytes
 * and cleanup.policy are read so that what cannot be accepted is refused before it takes its
 * neighbours with it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/sys.h"
#include "sink/kafka.h"

#define ASK_MS    1000 /* one question */
#define LEADER_MS 3000 /* a topic that is being created */
#define CONFIG_MS \
    INT64_C(10000) /* so long a new producer need not ask for a topic's configuration */
#define MIN_BATCH 1000

int ph_kafka_topic_find(struct ph_kafka *k, struct ph_str name, struct ph_kafka_topic **ret,
                        struct ph_error *err)
{
    struct ph_kafka_topic *last = k->last_topic;
    if (last && last->name_len == name.len && memcmp(last->name, name.ptr, name.len) == 0) {
        *ret = last;
        return 0;
    }
    struct ph_kafka_topic **bucket = &k->topics[ph_str_hash(name) % PH_KAFKA_BUCKETS];
    for (struct ph_kafka_topic *t = *bucket; t; t = t->next) {
        if (t->name_len == name.len && memcmp(t->name, name.ptr, name.len) == 0) {
            k->last_topic = t;
            *ret = t;
            return 0;
        }
    }
    if (k->topic_count >= PH_KAFKA_TOPICS_MAX) {
        return ph_fail(err, PH_E_CONFIG, "the route leads to more than %d topics",
                       PH_KAFKA_TOPICS_MAX);
    }
    struct ph_kafka_topic *topic = ph_mem_zero(1, sizeof *topic + name.len + 1);
    if (!topic) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a topic");
    }
    memcpy(topic->name, name.ptr, name.len);
    topic->name_len = name.len;
    topic->max_bytes = PH_KAFKA_TOPIC_BYTES;
    topic->next = *bucket;
    *bucket = topic;
    k->topic_count++;
    k->last_topic = topic;
    *ret = topic;
    return 0;
}

/* What the cluster says of the topic at present. */
static rd_kafka_resp_err_t topic_state(struct ph_kafka *k, struct ph_kafka_topic *topic)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t rc = rd_kafka_metadata(k->rk, 0, topic->handle, &metadata, ASK_MS);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return rc;
    }
    rc = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (metadata->topic_cnt == 1) {
        const rd_kafka_metadata_topic_t *t = &metadata->topics[0];
        rc = t->err;
        topic->partitions = t->partition_cnt;
        for (int i = 0; rc == RD_KAFKA_RESP_ERR_NO_ERROR && i < t->partition_cnt; i++) {
            rc = t->partitions[i].leader < 0 ? RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE : rc;
        }
        if (rc == RD_KAFKA_RESP_ERR_NO_ERROR && t->partition_cnt == 0) {
            rc = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

/* An automatically created topic has no leader for a moment. */
static rd_kafka_resp_err_t wait_for_leaders(struct ph_kafka *k, struct ph_kafka_topic *topic)
{
    int64_t deadline_us = ph_clock_mono_us() + LEADER_MS * 1000;
    for (;;) {
        rd_kafka_resp_err_t rc = topic_state(k, topic);
        bool young = rc == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
                     rc == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        if (!young || ph_clock_mono_us() >= deadline_us || ph_stop_wait(k->env->stop, 50)) {
            return rc;
        }
    }
}

static void read_entry(struct ph_kafka_topic *topic, const rd_kafka_ConfigEntry_t *entry)
{
    const char *name = rd_kafka_ConfigEntry_name(entry), *value = rd_kafka_ConfigEntry_value(entry);
    int64_t bytes;
    if (!value) {
        return;
    }
    if (strcmp(name, "max.message.bytes") == 0 && ph_str_i64(ph_str_from(value), &bytes) &&
        bytes > 0) {
        topic->max_bytes = bytes;
    } else if (strcmp(name, "cleanup.policy") == 0) {
        topic->compacted = strstr(value, "compact") != NULL;
    }
}

/* 0 when the answer held the topic's config, else -1 and why. */
static int read_answer(struct ph_kafka_topic *topic, rd_kafka_event_t *event, const char **why)
{
    size_t count = 0;
    *why = "no answer";
    if (!event || rd_kafka_event_type(event) != RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT) {
        return -1;
    }
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    if (count == 0 || rd_kafka_ConfigResource_error(resources[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *why = rd_kafka_err2str(count > 0 ? rd_kafka_ConfigResource_error(resources[0])
                                          : rd_kafka_event_error(event));
        return -1;
    }
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t **entry = rd_kafka_ConfigResource_configs(resources[0], &entries);
    for (size_t i = 0; i < entries; i++) {
        read_entry(topic, entry[i]);
    }
    return 0;
}

/* Without the right to read it, the broker's defaults are assumed and said once per topic. */
static void read_config(struct ph_kafka *k, struct ph_kafka_topic *topic)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->rk);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(k->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    char ignored[128];
    (void)rd_kafka_AdminOptions_set_request_timeout(options, ASK_MS * 2, ignored, sizeof ignored);
    rd_kafka_DescribeConfigs(k->rk, &resource, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ASK_MS * 2 + 500);
    const char *why;
    topic->config_read = read_answer(topic, event, &why) == 0;
    if (!topic->config_read) {
        char text[512];
        (void)snprintf(
            text, sizeof text,
            "the configuration of topic %s cannot be read (%s); assuming max.message.bytes=%d",
            topic->name, why, PH_KAFKA_TOPIC_BYTES);
        k->env->warn(k->env->pipeline, text);
    }
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_queue_destroy(queue);
}

int ph_kafka_topic_ask(struct ph_kafka *k, struct ph_kafka_topic *topic, struct ph_error *err)
{
    assert(k->rk && !topic->known);
    if (!topic->handle) {
        topic->handle = rd_kafka_topic_new(k->rk, topic->name, NULL);
        if (!topic->handle) {
            return ph_fail(err, PH_E_CONFIG, "topic %s: %s", topic->name,
                           rd_kafka_err2str(rd_kafka_last_error()));
        }
    }
    rd_kafka_resp_err_t rc = wait_for_leaders(k, topic);
    if (rc == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        topic->known = true; /* the broker will refuse the event itself */
        return 0;
    }
    if (rc == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) {
        return ph_fail(err, PH_E_REFUSED, "topic %s: %s", topic->name, rd_kafka_err2str(rc));
    }
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s: %s", topic->name, rd_kafka_err2str(rc));
    }
    if (topic->asked_us == 0 || ph_clock_mono_us() - topic->asked_us >= CONFIG_MS * 1000) {
        read_config(k, topic);
        topic->asked_us = ph_clock_mono_us();
    }
    topic->known = true;
    return 0;
}

bool ph_kafka_topic_fits(struct ph_kafka *k, const struct ph_kafka_topic *topic)
{
    int64_t batch = topic->max_bytes < MIN_BATCH ? MIN_BATCH : topic->max_bytes;
    bool fits = k->batch_size <= batch && k->message_max >= topic->max_bytes;
    if (k->batch_size > batch) {
        k->batch_size = batch;
    }
    if (k->message_max < topic->max_bytes) {
        k->message_max = topic->max_bytes > 1000000000 ? 1000000000 : topic->max_bytes;
    }
    return fits || k->message_max == 1000000000;
}

void ph_kafka_topics_forget(struct ph_kafka *k)
{
    for (size_t i = 0; i < PH_KAFKA_BUCKETS; i++) {
        for (struct ph_kafka_topic *t = k->topics[i]; t; t = t->next) {
            if (t->handle) {
                rd_kafka_topic_destroy(t->handle);
            }
            t->handle = NULL;
            t->known = false;
        }
    }
}

void ph_kafka_topics_free(struct ph_kafka *k)
{
    for (size_t i = 0; i < PH_KAFKA_BUCKETS; i++) {
        while (k->topics[i]) {
            struct ph_kafka_topic *topic = k->topics[i];
            k->topics[i] = topic->next;
            ph_mem_free(topic);
        }
    }
    k->last_topic = NULL;
}
