/*
 * Producers: how they are configured, made and ended. The settings that the promises rest on are
 * set here and cannot be changed by a person; everything else of librdkafka passes through.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define API_END_TXN    26
#define URI_PREFIX     "kafka://"
#define SOCKET_MS      10000 /* socket.timeout.ms with exactly-once */
#define ANSWERS_MS     300   /* for requests that are on their way when the producer goes */

#define TEXT_OF(value) #value
#define TEXT(value)    TEXT_OF(value)

struct setting {
    const char *name, *value;
};

/* What the promises rest on. */
static const struct setting promises[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"enable.gapless.guarantee", "true"},
    {"message.timeout.ms", "0"}, /* the core owns the deadline */
    /* A partition that a producer has not written yet takes its second request where the first was
     * refused (its leader was just being made), since there is no sequence to compare with; and
     * librdkafka 2.0.2 then infers that the first was stored too. That event would be lost. */
    {"max.in.flight.requests.per.connection", "1"},
};

/* The same for exactly-once. librdkafka fits message.timeout.ms to transaction.timeout.ms, and an
 * event that is late fails its whole transaction, so there is nothing behind it to keep back.
 * isolation.level is how a producer asks for the end of a partition: with what is not committed. */
static const struct setting txn_promises[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"max.in.flight.requests.per.connection", "1"},
    {"isolation.level", "read_uncommitted"},
};

/* Defaults of exactly-once, which a person may change: consumers wait for a transaction whose relay
 * died without a successor at most so long, and a request that is slow is given up in time. */
static const struct setting txn_defaults[] = {
    {"transaction.timeout.ms", "15000"},
    {"socket.timeout.ms", TEXT(SOCKET_MS)},
};

/* Defaults that a person may change. */
static const struct setting defaults[] = {
    {"linger.ms", "0"},                /* batches form from the window under load */
    {"partitioner", "murmur2_random"}, /* the partitions a Java producer chooses */
    {"socket.keepalive.enable", "true"},
    {"queue.buffering.max.messages", "200000"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "2000"},
};

/* Names under which librdkafka knows the promises, and what must not be set at all. */
static const struct setting refused[] = {
    {"enable.idempotence", "true"},  {"acks", "all"},
    {"request.required.acks", "-1"}, {"enable.gapless.guarantee", "true"},
    {"message.timeout.ms", "0"},     {"delivery.timeout.ms", "0"},
    {"max.in.flight", "1"},          {"max.in.flight.requests.per.connection", "1"},
    {"transactional.id", NULL},      {"bootstrap.servers", NULL},
    {"metadata.broker.list", NULL},  {"delivery.report.only.error", "false"},
    {"isolation.level", NULL},
};

int ph_kafka_brokers(const char *uri, char *out, size_t size, struct ph_error *err)
{
    assert(strncmp(uri, URI_PREFIX, sizeof URI_PREFIX - 1) == 0 || strncmp(uri, "kafka:", 6) == 0);
    const char *hosts =
        strncmp(uri, URI_PREFIX, sizeof URI_PREFIX - 1) == 0 ? uri + sizeof URI_PREFIX - 1 : "";
    size_t len = strcspn(hosts, "/?#");
    if (len == 0 || hosts[len] != '\0' || memchr(hosts, '@', len)) {
        return ph_fail(err, PH_E_CONFIG,
                       "a Kafka sink is kafka://HOST:PORT[,HOST:PORT...]; everything else is set "
                       "with sink.kafka.*");
    }
    if (len >= size) {
        return ph_fail(err, PH_E_CONFIG, "the list of Kafka brokers is longer than %zu characters",
                       size - 1);
    }
    memcpy(out, hosts, len + 1);
    return 0;
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct ph_error *err)
{
    char why[512];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        return ph_fail(err, PH_E_CONFIG, "sink.kafka.%s: %s", name, why);
    }
    return 0;
}

static int set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count,
                   struct ph_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = set(conf, settings[i].name, settings[i].value, err);
    }
    return rc;
}

/* 1: it is one of the promises, and says the same; 0: it is none; or why it is refused. */
static int refuse(const char *name, const char *value, struct ph_error *err)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(name, refused[i].name) != 0) {
            continue;
        }
        if (!refused[i].value) {
            return ph_fail(err, PH_E_CONFIG, "sink.kafka.%s is set by posthorn itself", name);
        }
        bool all = strcmp(refused[i].value, "all") == 0 && strcmp(value, "-1") == 0;
        if (!all && strcmp(value, refused[i].value) != 0) {
            return ph_fail(
                err, PH_E_CONFIG,
                "sink.kafka.%s=%s would break at-least-once delivery in order; it must stay %s",
                name, value, refused[i].value);
        }
        return 1;
    }
    return 0;
}

int ph_kafka_client_apply(const struct ph_kafka_config *config, rd_kafka_conf_t *conf,
                          bool producer, struct ph_error *err)
{
    for (size_t i = 0; i < config->kafka.count; i++) {
        const char *name = config->kafka.keys[i], *value = config->kafka.values[i];
        int rc = refuse(name, value, err);
        if (rc == 0) {
            rc = set(conf, name, value, err);
        }
        rc = rc > 0 ? 0 : rc;
        if (rc < 0 && !producer) { /* verify's consumer: a producer's property is not its own */
            ph_error_clear(err);
            rc = 0;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* librdkafka writes nothing to stderr; what matters comes as events. */
static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static int64_t person_bound(const struct ph_kafka *k, const char *name, int64_t otherwise)
{
    const char *text = ph_option_map_get(&k->config->kafka, name);
    int64_t value;
    return text && ph_str_i64(ph_str_from(text), &value) ? value : otherwise;
}

static int set_bounds(struct ph_kafka *k, rd_kafka_conf_t *conf, struct ph_error *err)
{
    char text[32];
    int64_t batch_size = person_bound(k, "batch.size", PH_KAFKA_BATCH_BYTES);
    k->batch_size = k->batch_size == 0 || batch_size < k->batch_size ? batch_size : k->batch_size;
    int64_t message_max = person_bound(k, "message.max.bytes", PH_KAFKA_MSG_BYTES);
    k->message_max = message_max > k->message_max ? message_max : k->message_max;
    (void)snprintf(text, sizeof text, "%lld", (long long)k->batch_size);
    int rc = set(conf, "batch.size", text, err);
    if (rc == 0) {
        (void)snprintf(text, sizeof text, "%lld", (long long)k->message_max);
        rc = set(conf, "message.max.bytes", text, err);
    }
    return rc;
}

static bool asks_compression(const struct ph_kafka *k)
{
    static const char *const names[] = {"compression.type", "compression.codec"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *codec = ph_option_map_get(&k->config->kafka, names[i]);
        if (codec && strcmp(codec, "none") != 0) {
            return true;
        }
    }
    return false;
}

static int set_promises(struct ph_kafka *k, rd_kafka_conf_t *conf, struct ph_error *err)
{
    if (!k->txn) {
        return set_all(conf, promises, sizeof promises / sizeof *promises, err);
    }
    int rc = set_all(conf, txn_promises, sizeof txn_promises / sizeof *txn_promises, err);
    return rc < 0 ? rc : set(conf, "transactional.id", k->txn->id, err);
}

/* Counts the ends of transactions that are sent: a second one for the same transaction may arrive
 * in the next, and tear it. https://kafka.apache.org/protocol.html#The_Messages_EndTxn */
static rd_kafka_resp_err_t on_request_sent(rd_kafka_t *rk, int sockfd, const char *brokername,
                                           int32_t brokerid, int16_t api_key, int16_t api_version,
                                           int32_t corrid, size_t size, void *opaque)
{
    struct ph_kafka_txn *txn = opaque;
    (void)rk, (void)sockfd, (void)brokername, (void)brokerid;
    (void)api_version, (void)corrid, (void)size;
    if (api_key == API_END_TXN) {
        atomic_fetch_add(&txn->end_txns, 1);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
                                  char *why, size_t size)
{
    (void)conf, (void)why, (void)size;
    return rd_kafka_interceptor_add_on_request_sent(rk, "posthorn", on_request_sent, opaque);
}

static int watch_ends(struct ph_kafka *k, rd_kafka_conf_t *conf, struct ph_error *err)
{
    rd_kafka_resp_err_t rc = rd_kafka_conf_interceptor_add_on_new(conf, "posthorn", on_new, k->txn);
    k->txn->socket_ms = person_bound(k, "socket.timeout.ms", SOCKET_MS);
    return rc == RD_KAFKA_RESP_ERR_NO_ERROR
               ? 0
               : ph_fail(err, PH_E_SOFTWARE, "Kafka: %s", rd_kafka_err2str(rc));
}

static int configure(struct ph_kafka *k, rd_kafka_conf_t *conf, struct ph_error *err)
{
    char brokers[4096], client[128];
    int rc = ph_kafka_brokers(k->env->uri, brokers, sizeof brokers, err);
    (void)snprintf(client, sizeof client, "posthorn-%s", k->env->pipeline);
    const struct setting own[] = {{"bootstrap.servers", brokers}, {"client.id", client}};
    if (rc == 0) {
        rc = set_all(conf, defaults, sizeof defaults / sizeof *defaults, err);
    }
    if (rc == 0 && k->txn) {
        rc = set_all(conf, txn_defaults, sizeof txn_defaults / sizeof *txn_defaults, err);
    }
    if (rc == 0) {
        rc = set_all(conf, own, sizeof own / sizeof *own, err);
    }
    if (rc == 0) {
        rc = ph_kafka_client_apply(k->config, conf, true, err);
    }
    if (rc == 0) {
        rc = set_promises(k, conf, err);
    }
    if (rc == 0) {
        rc = set_bounds(k, conf, err);
    }
    if (rc == 0 && k->txn) {
        rc = watch_ends(k, conf, err);
    }
    k->compressed = asks_compression(k);
    rd_kafka_conf_set_log_cb(conf, no_log);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    return rc;
}

int ph_kafka_client_new(struct ph_kafka *k, struct ph_error *err)
{
    assert(!k->rk);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = configure(k, conf, err);
    if (rc < 0) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    char why[512];
    k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        return ph_fail(err, PH_E_CONFIG, "sink.kafka: %s", why);
    }
    k->queue = rd_kafka_queue_get_main(k->rk);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(k->queue, k->wake_fd, &one, sizeof one);
    k->outstanding = 0;
    k->broken = k->outgrown = false;
    return 0;
}

static void take_last_reports(struct ph_kafka *k, int64_t limit_ms,
                              void (*on_report)(struct ph_kafka *, const rd_kafka_message_t *))
{
    int64_t deadline_us = ph_clock_mono_us() + limit_ms * 1000;
    while (k->outstanding > 0 && ph_clock_mono_us() < deadline_us) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(k->queue, 50);
        const rd_kafka_message_t *message;
        while (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR &&
               (message = rd_kafka_event_message_next(event))) {
            k->outstanding--;
            on_report(k, message);
        }
        rd_kafka_event_destroy(event);
    }
}

void ph_kafka_client_end(struct ph_kafka *k,
                         void (*on_report)(struct ph_kafka *, const rd_kafka_message_t *))
{
    if (!k->rk) {
        return;
    }
    if (k->outstanding > 0 && k->txn) { /* an abort wants to know what became of requests */
        (void)rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE);
        take_last_reports(k, ANSWERS_MS, on_report);
    }
    if (k->outstanding > 0) {
        (void)rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        take_last_reports(k, 1000, on_report);
    }
    if (k->txn) {
        ph_kafka_txn_abort(k);
    }
    ph_kafka_topics_forget(k);
    rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(k->queue);
    rd_kafka_destroy_flags(k->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    k->rk = NULL;
    k->queue = NULL;
    k->outstanding = 0;
}
