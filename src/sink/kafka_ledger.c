/*
 * What the checkpoint topic holds: posthorn.checkpoint.PIPELINE, compacted, one partition per
 * shard, written by that shard alone. Records by key:
 *
 *   checkpoint            the checkpoint (core/checkpoint_json.h), last in each transaction
 *   sent/TICK-POSITION    a row that came due was sent; no value: the source has removed it
 *
 * Promise: what is read back is whole up to the end as of the call, or the call fails; it never
 * says that there is no checkpoint because the broker was slow.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/sys.h"
#include "core/checkpoint_json.h"
#include "sink/kafka_txn.h"

#define KEY_CHECKPOINT "checkpoint"
#define KEY_SENT       "sent/"
#define TEXT_MAX       ((size_t)16 << 20) /* of a checkpoint: three snapshots of a busy server */
#define ASK_MS         5000
#define STALL_MS       10000  /* without a record */
#define READ_MS        300000 /* in all */

/* --- writing ---------------------------------------------------------------------------------- */

static int put(struct ph_kafka *k, struct ph_str key, struct ph_str value, struct ph_error *err)
{
    rd_kafka_resp_err_t rc = rd_kafka_producev(
        k->rk, RD_KAFKA_V_TOPIC(k->txn->topic), RD_KAFKA_V_PARTITION(k->env->shard),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY((void *)(uintptr_t)key.ptr, key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value.ptr, value.len), RD_KAFKA_V_END);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s: %s", k->txn->topic, rd_kafka_err2str(rc));
    }
    if (k->outstanding++ == 0) {
        k->heard_us = ph_clock_mono_us();
    }
    return 0;
}

static int put_row(struct ph_kafka *k, struct ph_position at, bool sent, struct ph_error *err)
{
    char key[sizeof KEY_SENT + PH_POSITION_TEXT_MAX] = KEY_SENT;
    ph_position_format(at, key + sizeof KEY_SENT - 1);
    return put(k, ph_str_from(key), sent ? PH_STR("1") : (struct ph_str){NULL, 0}, err);
}

/* Rows of this transaction, and those that the source has removed since. */
static int put_rows(struct ph_kafka *k, struct ph_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < k->txn->forgotten.count; i++) {
        rc = put_row(k, k->txn->forgotten.at[i], false, err);
    }
    for (size_t i = 0; rc == 0 && i < k->flight_count; i++) {
        const struct ph_kafka_flight *flight = &k->flights[i];
        for (size_t j = flight->done; rc == 0 && flight->batch->due && j < flight->next; j++) {
            const struct ph_event *event = &flight->batch->events[j];
            if (event->verdict == PH_PENDING) {
                rc = put_row(k, ph_event_at(event), true, err);
            }
        }
    }
    return rc;
}

int ph_kafka_ledger_write(struct ph_kafka *k, struct ph_error *err)
{
    struct ph_buf text;
    ph_buf_init(&text, TEXT_MAX);
    ph_checkpoint_json(&k->txn->next.cp, k->txn->serial + 1, &text);
    int rc = ph_buf_check(&text, "a checkpoint", err);
    if (rc == 0) {
        rc = put_rows(k, err);
    }
    if (rc == 0) {
        rc = put(k, PH_STR(KEY_CHECKPOINT), ph_buf_str(&text), err);
    }
    ph_buf_free(&text);
    return rc;
}

/* --- making and checking the topic ------------------------------------------------------------ */

static void set_config(rd_kafka_NewTopic_t *topic)
{
    /* small segments, compacted soon: a start reads all of it */
    static const char *const config[][2] = {
        {"cleanup.policy", "compact"},
        {"segment.bytes", "16777216"},
        {"min.cleanable.dirty.ratio", "0.1"},
        {"delete.retention.ms", "3600000"},
    };
    for (size_t i = 0; i < sizeof config / sizeof *config; i++) {
        (void)rd_kafka_NewTopic_set_config(topic, config[i][0], config[i][1]);
    }
}

/* A request to the cluster for one topic. */
struct admin {
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
};

static struct admin admin_begin(struct ph_kafka *k, rd_kafka_admin_op_t op)
{
    char ignored[128];
    struct admin admin = {rd_kafka_queue_new(k->rk), rd_kafka_AdminOptions_new(k->rk, op)};
    (void)rd_kafka_AdminOptions_set_request_timeout(admin.options, ASK_MS, ignored, sizeof ignored);
    return admin;
}

/* Waits for the answer: RD_KAFKA_RESP_ERR_NO_ERROR or why not. */
static rd_kafka_resp_err_t admin_end(struct admin *admin)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, ASK_MS + 500);
    rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_topic_result_t **topics = NULL;
    size_t count = 0;
    if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT) {
        topics =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    } else if (event) {
        topics = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(event), &count);
    }
    if (event) {
        rc = count == 1 ? rd_kafka_topic_result_error(topics[0]) : rd_kafka_event_error(event);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(admin->options);
    rd_kafka_queue_destroy(admin->queue);
    return rc;
}

static rd_kafka_resp_err_t make_topic(struct ph_kafka *k)
{
    char why[256];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(k->txn->topic, k->env->shards, -1, why, sizeof why);
    if (!topic) {
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    }
    set_config(topic);
    struct admin admin = admin_begin(k, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(k->rk, &topic, 1, admin.options, admin.queue);
    rd_kafka_NewTopic_destroy(topic);
    return admin_end(&admin);
}

static rd_kafka_resp_err_t add_partitions(struct ph_kafka *k)
{
    char why[256];
    rd_kafka_NewPartitions_t *more =
        rd_kafka_NewPartitions_new(k->txn->topic, (size_t)k->env->shards, why, sizeof why);
    if (!more) {
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    }
    struct admin admin = admin_begin(k, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    rd_kafka_CreatePartitions(k->rk, &more, 1, admin.options, admin.queue);
    rd_kafka_NewPartitions_destroy(more);
    return admin_end(&admin);
}

static bool may_be_there(rd_kafka_resp_err_t rc)
{
    return rc == RD_KAFKA_RESP_ERR_NO_ERROR || rc == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ||
           rc == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           rc == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

static int check_topic(struct ph_kafka *k, const struct ph_kafka_topic *topic, struct ph_error *err)
{
    if (topic->config_read && !topic->compacted) {
        return ph_fail(err, PH_E_CONFIG,
                       "topic %s must have cleanup.policy=compact: its checkpoints would expire",
                       topic->name);
    }
    if (topic->partitions >= k->env->shards) {
        return 0;
    }
    rd_kafka_resp_err_t rc = add_partitions(k);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR && rc != RD_KAFKA_RESP_ERR_INVALID_PARTITIONS) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s has %d partitions and needs %d: %s",
                       topic->name, topic->partitions, k->env->shards, rd_kafka_err2str(rc));
    }
    return ph_fail(err, PH_E_UNAVAILABLE, "topic %s gets %d partitions", topic->name,
                   k->env->shards); /* until they are there */
}

int ph_kafka_ledger_check(struct ph_kafka *k, struct ph_error *err)
{
    rd_kafka_resp_err_t made = make_topic(k);
    if (!may_be_there(made)) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s cannot be made: %s", k->txn->topic,
                       rd_kafka_err2str(made));
    }
    struct ph_kafka_topic *topic;
    int rc = ph_kafka_topic_find(k, ph_str_from(k->txn->topic), &topic, err);
    if (rc == 0 && !topic->known) {
        rc = ph_kafka_topic_ask(k, topic, err);
    }
    if (rc == PH_E_REFUSED) {
        rc = ph_fail(err, PH_E_CONFIG, "%s", err->text);
    }
    return rc < 0 ? rc : check_topic(k, topic, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

void ph_kafka_found_free(struct ph_kafka_found *found)
{
    ph_checkpoint_kept_free(&found->kept);
    ph_kafka_rows_free(&found->sent);
    *found = (struct ph_kafka_found){0};
}

static int take_checkpoint(struct ph_kafka_found *found, struct ph_str value, struct ph_error *err)
{
    struct ph_arena arena;
    struct ph_checkpoint cp;
    ph_arena_init(&arena, TEXT_MAX);
    int rc = ph_checkpoint_json_parse(value, &arena, &cp, &found->serial, err);
    if (rc == 0) {
        rc = ph_checkpoint_keep(&found->kept, &cp, err);
    }
    ph_arena_free(&arena);
    found->found = rc == 0;
    return rc;
}

int ph_kafka_ledger_take(struct ph_kafka_found *found, struct ph_str key, struct ph_str value,
                         struct ph_error *err)
{
    const size_t sent = sizeof KEY_SENT - 1;
    if (ph_str_is(key, KEY_CHECKPOINT)) {
        return take_checkpoint(found, value, err);
    }
    if (key.len <= sent || memcmp(key.ptr, KEY_SENT, sent) != 0) {
        return 0;
    }
    struct ph_position at;
    if (!ph_position_parse((struct ph_str){key.ptr + sent, key.len - sent}, &at)) {
        return ph_fail(err, PH_E_DATA, "a record is keyed by no position");
    }
    if (value.ptr) {
        return ph_kafka_rows_add(&found->sent, at, err);
    }
    ph_kafka_rows_remove(&found->sent, at);
    return 0;
}

/* librdkafka goes on by itself behind most errors; the time limit is ours. */
static int take_error(struct ph_kafka *k, const rd_kafka_message_t *message, struct ph_error *err)
{
    bool denied = message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    (void)ph_fail(err, denied ? PH_E_CONFIG : PH_E_UNAVAILABLE,
                  "topic %s, the checkpoint could not be read: %s", k->txn->topic,
                  rd_kafka_err2str(message->err));
    return denied ? PH_E_CONFIG : 0;
}

static int take_message(struct ph_kafka *k, const rd_kafka_message_t *message, int64_t *next,
                        struct ph_error *err)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        *next = message->offset;
        return 0;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return take_error(k, message, err);
    }
    *next = message->offset + 1;
    struct ph_str key = {message->key, message->key_len};
    struct ph_str value = {message->payload, message->len};
    int rc = ph_kafka_ledger_take(&k->txn->read, key, value, err);
    if (rc == PH_E_DATA) {
        (void)ph_fail_prefix(err, "topic %s, partition %d, offset %lld", k->txn->topic,
                             k->env->shard, (long long)message->offset);
    }
    return rc;
}

/* Keeps what was said before, if anything. */
static int refuse_wait(const struct ph_kafka *k, struct ph_error *err)
{
    return err->code != 0 ? err->code
                          : ph_fail(err, PH_E_UNAVAILABLE,
                                    "topic %s: the checkpoint could not be read: nothing came for "
                                    "%d s",
                                    k->txn->topic, STALL_MS / 1000);
}

/* Reads from the beginning up to offset `end`; a partition that was not compacted for long may take
 * its time, as long as records come. */
static int read_to(struct ph_kafka *k, rd_kafka_t *consumer, int64_t end, struct ph_error *err)
{
    int64_t next = 0, now_us = ph_clock_mono_us();
    int64_t stalled_us = now_us + STALL_MS * 1000LL, over_us = now_us + READ_MS * 1000LL;
    int rc = 0;
    while (rc == 0 && next < end) {
        now_us = ph_clock_mono_us();
        if (now_us > stalled_us || now_us > over_us || ph_stop_wanted(k->env->stop)) {
            return refuse_wait(k, err);
        }
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        if (message) {
            int64_t before = next;
            rc = take_message(k, message, &next, err);
            stalled_us = next > before ? now_us + STALL_MS * 1000LL : stalled_us;
            rd_kafka_message_destroy(message);
        }
    }
    if (rc == 0) {
        ph_error_clear(err);
    }
    return rc;
}

int ph_kafka_ledger_read(struct ph_kafka *k, struct ph_error *err)
{
    int64_t low, high;
    ph_kafka_found_free(&k->txn->read);
    /* asked by the producer, that is without regard to transactions; see kafka_client.c */
    rd_kafka_resp_err_t asked =
        rd_kafka_query_watermark_offsets(k->rk, k->txn->topic, k->env->shard, &low, &high, ASK_MS);
    if (asked != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s: %s", k->txn->topic,
                       rd_kafka_err2str(asked));
    }
    if (low >= high) {
        return 0;
    }
    rd_kafka_t *consumer;
    int rc = ph_kafka_consumer_new(k->env, k->config, &consumer, err);
    if (rc < 0) {
        return rc;
    }
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(parts, k->txn->topic, k->env->shard)->offset = low;
    rc = rd_kafka_assign(consumer, parts) == RD_KAFKA_RESP_ERR_NO_ERROR
             ? read_to(k, consumer, high, err)
             : ph_fail(err, PH_E_UNAVAILABLE, "topic %s cannot be read", k->txn->topic);
    rd_kafka_topic_partition_list_destroy(parts);
    rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return rc;
}
