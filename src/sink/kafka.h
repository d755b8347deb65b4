/*
 * Inside the Kafka sink: what its files share. kafka.c sends and gives verdicts; kafka_client.c
 * makes and ends producers; kafka_topic.c knows topics; kafka_record.c makes records; kafka_error.c
 * says what an error means; kafka_scan.c reads back for verify; kafka_txn.h is exactly-once.
 */
#ifndef PH_SINK_KAFKA_H
#define PH_SINK_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "core/sink.h"

#define PH_KAFKA_TOPICS_MAX  10000
#define PH_KAFKA_BUCKETS     256
#define PH_KAFKA_WINDOW_MAX  193     /* three times the option's 64, one of rows that come back */
#define PH_KAFKA_BATCH_BYTES 1000000 /* librdkafka's own defaults */
#define PH_KAFKA_MSG_BYTES   1000000
#define PH_KAFKA_TOPIC_BYTES 1048588 /* the broker's default of max.message.bytes */

struct ph_kafka_config {
    struct ph_option_map kafka; /* librdkafka properties */
};

extern const struct ph_option ph_kafka_options[];
extern const struct ph_sink_driver ph_sink_kafka;

struct ph_kafka_topic {
    struct ph_kafka_topic *next; /* in its bucket */
    rd_kafka_topic_t *handle;    /* of the present producer; NULL until it is used */
    int64_t max_bytes;           /* max.message.bytes */
    int64_t asked_us;            /* when the topic said so */
    int partitions;
    bool compacted;
    bool config_read; /* max_bytes and compacted are what the topic said */
    bool known;       /* exists, with leaders, as of the present producer */
    size_t name_len;
    char name[];
};

/* A batch in flight and how far it was handed to librdkafka. */
struct ph_kafka_flight {
    struct ph_batch *batch;
    size_t next;
    size_t done; /* exactly-once: events before it are in committed transactions */
};

struct ph_kafka_txn;

struct ph_kafka {
    const struct ph_sink_env *env;
    const struct ph_kafka_config *config;
    struct ph_kafka_txn *txn; /* exactly-once; NULL: at-least-once */
    rd_kafka_t *rk;           /* NULL between two producers */
    rd_kafka_queue_t *queue;
    int wake_fd; /* an eventfd that librdkafka writes when the queue has something */
    int64_t batch_size, message_max; /* of the present producer */
    bool compressed;

    struct ph_kafka_topic *topics[PH_KAFKA_BUCKETS];
    struct ph_kafka_topic *last_topic;
    size_t topic_count;

    struct ph_kafka_flight flights[PH_KAFKA_WINDOW_MAX];
    size_t flight_count;
    int64_t heard_us;             /* when a report last came, or the first event went out */
    int64_t outstanding;          /* handed to librdkafka, no report yet */
    const struct ph_event *alone; /* sent by itself to find out whether it is the one */
    bool refused;                 /* one was: nothing more until abandon */
    bool broken;   /* the producer must be replaced now: a refusal in a crowd, or a fatal error */
    bool outgrown; /* it must be replaced once nothing is out: a topic needs other bounds */
    bool down;
    int64_t refusals, renewals;
    char trouble[512]; /* why it is down, or what broke the producer */
};

/* What an error of librdkafka or the broker asks for. */
enum ph_kafka_class {
    PH_KAFKA_RESEND, /* nothing was decided about the event: send it again */
    PH_KAFKA_ALONE,  /* somebody in its produce batch was refused: send it alone to find out who */
    PH_KAFKA_DOWN,   /* the cluster or the topic is not there: wait */
};

/* The row of the table in kafka_error.c for err; PH_KAFKA_ALONE without one. */
enum ph_kafka_class ph_kafka_classify(rd_kafka_resp_err_t err);

/* A producer under the present bounds. PH_E_CONFIG names a property that librdkafka refuses. */
int ph_kafka_client_new(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* Ends the producer: purges, takes the last reports with on_report for at most a second, destroys.
 * After it no report can come and no memory of a batch is referred to, since librdkafka joins its
 * threads. Accepts none. */
void ph_kafka_client_end(struct ph_kafka *k,
                         void (*on_report)(struct ph_kafka *, const rd_kafka_message_t *));
/* The properties a person set, checked, put into conf. */
int ph_kafka_client_apply(const struct ph_kafka_config *config, rd_kafka_conf_t *conf,
                          bool producer, struct ph_error *err) PH_MUST_CHECK;
/* A consumer that reads what is committed, joins no group and stores nothing. */
int ph_kafka_consumer_new(const struct ph_sink_env *env, const struct ph_kafka_config *config,
                          rd_kafka_t **ret, struct ph_error *err) PH_MUST_CHECK;
/* HOST:PORT,... of a kafka:// URI. */
int ph_kafka_brokers(const char *uri, char *out, size_t size, struct ph_error *err) PH_MUST_CHECK;

/* Takes what librdkafka has to say, waiting at most timeout_ms for the first. */
void ph_kafka_take_reports(struct ph_kafka *k, int timeout_ms);
/* An error like that in err, with what librdkafka says of its connections, which tells more. */
int ph_kafka_say_why(struct ph_kafka *k, struct ph_error *err) PH_MUST_CHECK;
/* For ph_kafka_client_end: reports of events that nobody waits for. */
void ph_kafka_forget_report(struct ph_kafka *k, const rd_kafka_message_t *message);

/* The topic's entry, made when it is new. PH_E_NOMEM beyond PH_KAFKA_TOPICS_MAX. */
int ph_kafka_topic_find(struct ph_kafka *k, struct ph_str name, struct ph_kafka_topic **ret,
                        struct ph_error *err) PH_MUST_CHECK;
/* Asks the cluster about a topic that is not known yet, waiting a few seconds at most.
 * PH_E_UNAVAILABLE when it does not answer or the topic does not exist. */
int ph_kafka_topic_ask(struct ph_kafka *k, struct ph_kafka_topic *topic,
                       struct ph_error *err) PH_MUST_CHECK;
/* Whether the producer's bounds fit the topic; if not, raises or lowers them for the next producer.
 */
bool ph_kafka_topic_fits(struct ph_kafka *k, const struct ph_kafka_topic *topic);
/* Lets go of what belongs to the producer that ends. */
void ph_kafka_topics_forget(struct ph_kafka *k);
void ph_kafka_topics_free(struct ph_kafka *k);

/* Why the broker would refuse this event whatever its neighbours, put into cause; false when it
 * would not. */
bool ph_kafka_hopeless(const struct ph_kafka *k, const struct ph_kafka_topic *topic,
                       const struct ph_event *event, char *cause, size_t size);
/* The event's headers, for a record; the caller's until it is produced. NULL without memory. */
rd_kafka_headers_t *ph_kafka_headers(const struct ph_event *event);

/* The driver's scan. */
int ph_kafka_scan(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                  size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                  void *arg, struct ph_error *err);

#endif
