/*
 * Reading topics back for verify: every partition from its beginning to the end as of the start.
 * Records without posthorn's headers are not ours and are passed over. No consumer group is used,
 * nothing is committed.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/sys.h"
#include "core/park.h"
#include "sink/kafka.h"

#define METADATA_MS 10000
#define STALL_MS    30000 /* without a record */

struct scan {
    rd_kafka_t *rk;
    rd_kafka_topic_partition_list_t *parts;
    int64_t *ends; /* beside parts */
    int left;      /* partitions not read to their end */
    int (*each)(void *arg, const struct ph_record *record);
    void *arg;
};

/* What a consumer needs to be told by us. */
static int configure(rd_kafka_conf_t *conf, const struct ph_sink_env *env,
                     const struct ph_kafka_config *config, struct ph_error *err)
{
    char brokers[4096], why[512];
    int rc = ph_kafka_brokers(env->uri, brokers, sizeof brokers, err);
    if (rc == 0) {
        rc = ph_kafka_client_apply(config, conf, false, err);
    }
    const char *const own[][2] = {
        {"group.id", "posthorn-verify"},   {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},  {"isolation.level", "read_committed"},
        {"auto.offset.reset", "earliest"}, {"log_level", "0"},
        {"bootstrap.servers", brokers},
    };
    for (size_t i = 0; rc == 0 && i < sizeof own / sizeof *own; i++) {
        if (rd_kafka_conf_set(conf, own[i][0], own[i][1], why, sizeof why) != RD_KAFKA_CONF_OK) {
            rc = ph_fail(err, PH_E_CONFIG, "%s: %s", own[i][0], why);
        }
    }
    return rc;
}

int ph_kafka_consumer_new(const struct ph_sink_env *env, const struct ph_kafka_config *config,
                          rd_kafka_t **ret, struct ph_error *err)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = configure(conf, env, config, err);
    if (rc == 0) {
        *ret = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
        rc = *ret ? 0 : ph_fail(err, PH_E_CONFIG, "sink.kafka: %s", why);
    }
    if (rc < 0) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    (void)rd_kafka_poll_set_consumer(*ret);
    return 0;
}

/* Adds the partitions of one topic; a topic that does not exist has none. */
static int add_topic(struct scan *s, struct ph_str name, struct ph_error *err)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s", PH_STR_ARG(name));
    rd_kafka_topic_t *topic = rd_kafka_topic_new(s->rk, text, NULL);
    if (!topic) {
        return ph_fail(err, PH_E_CONFIG, "topic %s: %s", text,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t rc = rd_kafka_metadata(s->rk, 0, topic, &metadata, METADATA_MS);
    rd_kafka_topic_destroy(topic);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return ph_fail(err, PH_E_UNAVAILABLE, "Kafka: topic %s: %s", text, rd_kafka_err2str(rc));
    }
    for (int i = 0; metadata->topic_cnt == 1 && i < metadata->topics[0].partition_cnt; i++) {
        (void)rd_kafka_topic_partition_list_add(s->parts, text,
                                                metadata->topics[0].partitions[i].id);
    }
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

static int find_ends(struct scan *s, struct ph_error *err)
{
    s->ends = ph_mem_zero((size_t)s->parts->cnt + 1, sizeof *s->ends);
    if (!s->ends) {
        return ph_fail(err, PH_E_NOMEM, "no memory for %d partitions", s->parts->cnt);
    }
    for (int i = 0; i < s->parts->cnt; i++) {
        rd_kafka_topic_partition_t *part = &s->parts->elems[i];
        int64_t low, high;
        rd_kafka_resp_err_t rc = rd_kafka_query_watermark_offsets(
            s->rk, part->topic, part->partition, &low, &high, METADATA_MS);
        if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return ph_fail(err, PH_E_UNAVAILABLE, "Kafka: the end of %s [%d]: %s", part->topic,
                           part->partition, rd_kafka_err2str(rc));
        }
        part->offset = low;
        s->ends[i] = high;
        s->left += low < high;
    }
    return 0;
}

static bool header(const rd_kafka_headers_t *headers, const char *name, struct ph_str *out)
{
    const void *value;
    size_t size;
    if (!headers ||
        rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        !value) {
        return false;
    }
    *out = (struct ph_str){value, size};
    return true;
}

static int give(struct scan *s, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers = NULL;
    struct ph_str id, at, late;
    struct ph_record record = {.key = {message->key, message->key_len}};
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        !header(headers, "id", &id) || !header(headers, "posthorn-position", &at) ||
        !ph_uuid_parse(id, &record.id) || !ph_position_parse(at, &record.at)) {
        return 0;
    }
    record.late =
        header(headers, PH_HEADER_SCHEDULED, &late) || header(headers, PH_HEADER_REDRIVEN, &late);
    record.lane = ph_str_hash(ph_str_from(rd_kafka_topic_name(message->rkt))) +
                  (uint64_t)(uint32_t)message->partition;
    return s->each(s->arg, &record);
}

/* Marks a partition as read when offset `next` reaches its end. */
static void passed(struct scan *s, const rd_kafka_message_t *message, int64_t next)
{
    for (int i = 0; i < s->parts->cnt; i++) {
        const rd_kafka_topic_partition_t *part = &s->parts->elems[i];
        if (part->partition == message->partition &&
            strcmp(part->topic, rd_kafka_topic_name(message->rkt)) == 0) {
            if (s->ends[i] > 0 && next >= s->ends[i]) {
                s->ends[i] = 0;
                s->left--;
            }
            return;
        }
    }
}

static int read_all(struct scan *s, struct ph_error *err)
{
    int64_t deadline_us = ph_clock_mono_us() + STALL_MS * 1000LL;
    while (s->left > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(s->rk, 200);
        int rc = 0;
        if (message && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            deadline_us = ph_clock_mono_us() + STALL_MS * 1000LL;
            rc = give(s, message);
            passed(s, message, message->offset + 1);
        } else if (message && message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            passed(s, message, message->offset);
        }
        if (message) {
            rd_kafka_message_destroy(message);
        }
        if (rc != 0) {
            return rc;
        }
        if (ph_clock_mono_us() > deadline_us) {
            return ph_fail(err, PH_E_UNAVAILABLE,
                           "Kafka gave no record for %d s with %d partitions left to read",
                           STALL_MS / 1000, s->left);
        }
    }
    return 0;
}

int ph_kafka_scan(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                  size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                  void *arg, struct ph_error *err)
{
    struct scan s = {.each = each, .arg = arg};
    int rc = ph_kafka_consumer_new(env, config, &s.rk, err);
    if (rc < 0) {
        return rc;
    }
    s.parts = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; rc == 0 && i < topic_count; i++) {
        rc = add_topic(&s, topics[i], err);
    }
    if (rc == 0) {
        rc = find_ends(&s, err);
    }
    for (int i = 0; rc == 0 && i < s.parts->cnt; i++) {
        s.ends[i] = s.ends[i] > s.parts->elems[i].offset ? s.ends[i] : 0;
    }
    if (rc == 0 && s.left > 0 && rd_kafka_assign(s.rk, s.parts) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = ph_fail(err, PH_E_UNAVAILABLE, "Kafka: the partitions could not be assigned");
    }
    if (rc == 0) {
        rc = read_all(&s, err);
    }
    rd_kafka_topic_partition_list_destroy(s.parts);
    rd_kafka_destroy_flags(s.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    ph_mem_free(s.ends);
    return rc;
}
