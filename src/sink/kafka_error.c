/*
 * What an error means for an event: one row each. An error without a row concerns somebody in the
 * produce batch, so the events are sent alone, and only one that fails alone is refused.
 */
#include "sink/kafka.h"

struct error_row {
    rd_kafka_resp_err_t err;
    enum ph_kafka_class class;
};

static const struct error_row rows[] = {
    /* purged by us, or behind a refused event of its partition */
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR__DESTROY, PH_KAFKA_RESEND},
    /* the idempotent producer lost its place: a new one, then the same events again */
    {RD_KAFKA_RESP_ERR__FATAL, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR__INCONSISTENT, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR__FENCED, PH_KAFKA_RESEND},
    /* the transaction has failed already: every event of it is sent again */
    {RD_KAFKA_RESP_ERR__STATE, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, PH_KAFKA_RESEND},
    {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, PH_KAFKA_RESEND},
    /* the cluster is not there, or not ready */
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__TRANSPORT, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__SSL, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__RESOLVE, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, PH_KAFKA_DOWN},
    /* the destination is gone: not the event's fault, and it may come back */
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, PH_KAFKA_DOWN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, PH_KAFKA_DOWN},
    /* somebody in the batch: MSG_SIZE_TOO_LARGE, INVALID_MSG, INVALID_RECORD,
       TOPIC_AUTHORIZATION_FAILED, ... */
};

enum ph_kafka_class ph_kafka_classify(rd_kafka_resp_err_t err)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].err == err) {
            return rows[i].class;
        }
    }
    return PH_KAFKA_ALONE;
}
