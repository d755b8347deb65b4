/*
 * An event as a Kafka record: its headers, and what can be known of its size before it is sent.
 */
#include <stdio.h>

#include "sink/kafka.h"

/* Least bytes of a record batch beside its keys, values and headers.
 * https://kafka.apache.org/documentation/#messageformat */
#define BATCH_OVERHEAD  61
#define RECORD_OVERHEAD 7
#define HEADER_OVERHEAD 2

/* The least that the record can take in a batch of its own, without compression. */
static int64_t least_bytes(const struct ph_event *event)
{
    size_t bytes = BATCH_OVERHEAD + RECORD_OVERHEAD + event->key.len + event->body.len;
    for (unsigned i = 0; i < event->header_count; i++) {
        bytes += event->headers[i].name.len + event->headers[i].value.len + HEADER_OVERHEAD;
    }
    return (int64_t)bytes;
}

bool ph_kafka_hopeless(const struct ph_kafka *k, const struct ph_kafka_topic *topic,
                       const struct ph_event *event, char *cause, size_t size)
{
    if (topic->compacted && !event->key.ptr) {
        (void)snprintf(cause, size, "topic %s is compacted and takes no event without a key",
                       topic->name);
        return true;
    }
    int64_t bytes = least_bytes(event);
    if (!k->compressed && bytes > topic->max_bytes) {
        (void)snprintf(cause, size,
                       "a record of %lld bytes is larger than max.message.bytes=%lld of topic %s",
                       (long long)bytes, (long long)topic->max_bytes, topic->name);
        return true;
    }
    return false;
}

rd_kafka_headers_t *ph_kafka_headers(const struct ph_event *event)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(event->header_count);
    for (unsigned i = 0; headers && i < event->header_count; i++) {
        const struct ph_header *h = &event->headers[i];
        if (rd_kafka_header_add(headers, h->name.ptr, (ssize_t)h->name.len, h->value.ptr,
                                (ssize_t)h->value.len) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(headers);
            return NULL;
        }
    }
    return headers;
}
