/*
 * The floor: the same work with no promises kept. FETCH from a binary cursor into
 * rd_kafka_producev, with the key, headers, bytes and client settings that posthorn uses; the next
 * FETCH is sent before the present rows are produced. No ticks, no checkpoint, no lease, no order
 * of commits, no answer to any failure: it exits at the first.
 *
 * usage: floor DB-URI BROKERS TOPIC AFTER-POSITION   prints "events N seconds S"
 */
#include <endian.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"

#define FETCH       "FETCH 4000 FROM floor"
#define PG_EPOCH_US 946684800000000LL

static int64_t delivered, failed;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(69);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    delivered++;
    failed += message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_t *new_producer(const char *brokers)
{
    static const char *const settings[][2] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"enable.gapless.guarantee", "true"},
        {"message.timeout.ms", "0"},
        {"linger.ms", "0"},
        {"queue.buffering.max.messages", "1000000"},
        {"queue.buffering.max.kbytes", "1048576"},
        {"partitioner", "murmur2_random"},
    };
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why) !=
        RD_KAFKA_CONF_OK) {
        die("conf", why);
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why) !=
            RD_KAFKA_CONF_OK) {
            die("conf", why);
        }
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        die("producer", why);
    }
    return rk;
}

static int64_t get64(const PGresult *res, int row, int column)
{
    uint64_t v;
    memcpy(&v, PQgetvalue(res, row, column), sizeof v);
    return (int64_t)be64toh(v);
}

/* Columns: position, created_at, event_id, aggregate_type, aggregate_id, event_type, headers,
 * payload */
static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const PGresult *res, int row)
{
    char id[PH_UUID_TEXT_LEN + 1], created[PH_TIME_TEXT_LEN + 1], position[32];
    struct ph_uuid uuid;
    memcpy(uuid.bytes, PQgetvalue(res, row, 2), sizeof uuid.bytes);
    ph_uuid_format(&uuid, id);
    ph_time_format(get64(res, row, 1) + PG_EPOCH_US, created);
    char *payload = PQgetvalue(res, row, 7) + 1; /* behind the version byte of jsonb */
    int position_len = snprintf(position, sizeof position, "1-%lld", (long long)get64(res, row, 0));
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    (void)rd_kafka_header_add(headers, "id", 2, id, PH_UUID_TEXT_LEN);
    (void)rd_kafka_header_add(headers, "eventType", 9, PQgetvalue(res, row, 5),
                              PQgetlength(res, row, 5));
    (void)rd_kafka_header_add(headers, "aggregateType", 13, PQgetvalue(res, row, 3),
                              PQgetlength(res, row, 3));
    (void)rd_kafka_header_add(headers, "aggregateId", 11, PQgetvalue(res, row, 4),
                              PQgetlength(res, row, 4));
    (void)rd_kafka_header_add(headers, "createdAt", 9, created, PH_TIME_TEXT_LEN);
    (void)rd_kafka_header_add(headers, "posthorn-position", 17, position, position_len);
    for (;;) {
        rd_kafka_resp_err_t rc = rd_kafka_producev(
            rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(PQgetvalue(res, row, 4), (size_t)PQgetlength(res, row, 4)),
            RD_KAFKA_V_VALUE(payload, (size_t)PQgetlength(res, row, 7) - 1),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return;
        }
        if (rc != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            die("produce", rd_kafka_err2str(rc));
        }
        (void)rd_kafka_poll(rk, 10);
    }
}

static void command(PGconn *conn, const char *sql)
{
    PGresult *res = PQexec(conn, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        die(sql, PQerrorMessage(conn));
    }
    PQclear(res);
}

static PGresult *answer(PGconn *conn)
{
    PGresult *res = PQgetResult(conn);
    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        die(FETCH, PQerrorMessage(conn));
    }
    PQclear(PQgetResult(conn));
    return res;
}

static int64_t carry(PGconn *conn, rd_kafka_t *rk, rd_kafka_topic_t *topic, long long after)
{
    int64_t produced = 0;
    char sql[512];
    (void)snprintf(
        sql, sizeof sql,
        "DECLARE floor BINARY CURSOR FOR SELECT position, created_at, event_id, aggregate_type, "
        "aggregate_id, "
        "event_type, headers, payload FROM posthorn.outbox WHERE position > %lld ORDER BY position",
        after);
    command(conn, "BEGIN");
    command(conn, sql);
    (void)PQsendQuery(conn, FETCH);
    for (;;) {
        PGresult *res = answer(conn);
        int rows = PQntuples(res);
        if (rows > 0) {
            (void)PQsendQuery(conn, FETCH);
        }
        for (int i = 0; i < rows; i++) {
            produce(rk, topic, res, i);
        }
        (void)rd_kafka_poll(rk, 0);
        PQclear(res);
        if (rows == 0) {
            return produced;
        }
        produced += rows;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fprintf(stderr, "usage: floor DB-URI BROKERS TOPIC AFTER-POSITION\n");
        return 64;
    }
    int64_t begun = ph_clock_mono_us();
    PGconn *conn = PQconnectdb(argv[1]);
    if (PQstatus(conn) != CONNECTION_OK) {
        die("connect", PQerrorMessage(conn));
    }
    rd_kafka_t *rk = new_producer(argv[2]);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[3], NULL);
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("metadata", argv[3]);
    }
    rd_kafka_metadata_destroy(metadata);
    int64_t produced = carry(conn, rk, topic, strtoll(argv[4], NULL, 10));
    if (rd_kafka_flush(rk, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR || failed > 0 ||
        delivered != produced) {
        die("flush", "not everything was delivered");
    }
    (void)printf("events %lld seconds %.3f\n", (long long)produced,
                 (double)(ph_clock_mono_us() - begun) / 1e6);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    PQfinish(conn);
    return 0;
}
