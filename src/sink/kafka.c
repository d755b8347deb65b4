/*
 * The Kafka sink: records in batch order, one idempotent producer, at-least-once; or, exactly-once,
 * one transactional producer (kafka_txn.c), which shares what is here up to the reports.
 * Promise: after a refused event nothing later of its partition is in the topic (gapless), and
 * everything before it in the window is SENT before it is refused. A refusal concerns a whole
 * produce batch, so a producer that saw one is replaced, and the events that were refused together
 * are sent one by one: only what fails alone is REJECT. librdkafka keeps what it was given while
 * the cluster is down; nothing here waits for it. Payloads are not copied: they stay in the batch
 * until the report, and a producer is ended before a batch is let go.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define LOOK_AGAIN_MS 1000 /* what a topic said may have changed after so long */

/* Events that wait this long without any report mean that the cluster is down. */
#define SILENCE_US (3 * 1000000LL)

const struct ph_option ph_kafka_options[] = {
    {"kafka.*", PH_OPT_MAP, offsetof(struct ph_kafka_config, kafka), NULL, 0, 0, NULL,
     "any librdkafka property, for example sink.kafka.compression.type=lz4; secrets as "
     "..._file=PATH"},
    PH_OPTION_END,
};

enum pump { PUMP_ALL, PUMP_WAIT };

static struct ph_batch *batch_of(struct ph_kafka *k, const struct ph_event *event)
{
    for (size_t i = 0; i < k->flight_count; i++) {
        struct ph_batch *batch = k->flights[i].batch;
        if (event >= batch->events && event < batch->events + batch->cap) {
            return batch;
        }
    }
    return NULL;
}

static void set_trouble(struct ph_kafka *k, const char *what, rd_kafka_resp_err_t err)
{
    (void)snprintf(k->trouble, sizeof k->trouble, "%s%s%s", what, *what ? ": " : "",
                   rd_kafka_err2str(err));
}

static void refuse(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                   const char *cause)
{
    k->refused = true;
    k->refusals++;
    ph_batch_verdict(batch, event, PH_REJECT, cause);
}

/* A report of a record in a transaction: good ones are settled by the commit. The checkpoint's own
 * record has no event: what is refused there is nobody's fault. */
static void on_txn_report(struct ph_kafka *k, const rd_kafka_message_t *message)
{
    rd_kafka_resp_err_t rc = message->err;
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR && message->offset >= 0) {
        k->down = false;
        return;
    }
    enum ph_kafka_class class = ph_kafka_classify(rc);
    bool ours = !message->_private && class == PH_KAFKA_ALONE;
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR && class != PH_KAFKA_RESEND) {
        set_trouble(k, rd_kafka_topic_name(message->rkt), rc);
        k->down |= ours || class == PH_KAFKA_DOWN;
    }
    ph_kafka_txn_report(
        k, ours || rc == RD_KAFKA_RESP_ERR_NO_ERROR ? RD_KAFKA_RESP_ERR__INCONSISTENT : rc);
}

/* A delivery report: SENT, or what the error asks for. */
static void on_report(struct ph_kafka *k, const rd_kafka_message_t *message)
{
    if (k->txn) {
        on_txn_report(k, message);
        return;
    }
    struct ph_event *event = message->_private;
    struct ph_batch *batch = batch_of(k, event);
    assert(batch);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->offset >= 0) {
        k->down = false;
        ph_batch_verdict(batch, event, PH_SENT, NULL);
        return;
    }
    k->broken = true;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return; /* no offset: it was inferred from a later request, not told by the broker */
    }
    bool was_alone = k->alone == event;
    switch (ph_kafka_classify(message->err)) {
    case PH_KAFKA_RESEND:
        break;
    case PH_KAFKA_DOWN:
        k->down = true;
        set_trouble(k, "", message->err);
        break;
    case PH_KAFKA_ALONE:
        set_trouble(k, rd_kafka_topic_name(message->rkt), message->err);
        if (was_alone) {
            refuse(k, batch, event, k->trouble);
        } else {
            event->mark = 1;
        }
        break;
    }
}

static void on_error(struct ph_kafka *k, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t rc = rd_kafka_event_error(event);
    if (k->txn) {
        ph_kafka_txn_error(k, rc);
    }
    if (rc == RD_KAFKA_RESP_ERR__FATAL) {
        char why[256];
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(k->rk, why, sizeof why);
        k->broken = !k->txn;
        set_trouble(k, "fatal", cause);
        if (k->txn) {
            ph_kafka_txn_error(k, cause);
        }
        return;
    }
    if (ph_kafka_classify(rc) != PH_KAFKA_DOWN) {
        return; /* told again by a report if it concerns an event */
    }
    if (rc != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
        k->trouble[0] == '\0') { /* the cause is better */
        (void)snprintf(k->trouble, sizeof k->trouble, "%s", rd_kafka_event_error_string(event));
    }
    if (rc == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || rc == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
        rc == RD_KAFKA_RESP_ERR__SSL) {
        k->down = true;
    }
}

void ph_kafka_take_reports(struct ph_kafka *k, int timeout_ms)
{
    uint64_t drained;
    (void)!read(k->wake_fd, &drained, sizeof drained);
    while (k->rk) { /* exactly-once has none behind a refusal, until a step makes one */
        rd_kafka_event_t *event = rd_kafka_queue_poll(k->queue, timeout_ms);
        if (!event) {
            return;
        }
        timeout_ms = 0;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            k->heard_us = ph_clock_mono_us();
            const rd_kafka_message_t *message;
            while ((message = rd_kafka_event_message_next(event))) {
                k->outstanding--;
                on_report(k, message);
                k->alone = NULL; /* while one is out alone, its report is the only one */
            }
            PH_FAILPOINT("kafka.produce.after");
        } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
            on_error(k, event);
        }
        rd_kafka_event_destroy(event);
    }
}

static rd_kafka_resp_err_t produce(struct ph_kafka *k, const struct ph_kafka_topic *topic,
                                   struct ph_event *event)
{
    rd_kafka_headers_t *headers = ph_kafka_headers(event);
    if (!headers) {
        return RD_KAFKA_RESP_ERR__QUEUE_FULL; /* no memory now: try again at the next poll */
    }
    const struct ph_str key = event->key, body = event->body;
    PH_FAILPOINT("kafka.produce.before");
    rd_kafka_resp_err_t rc = rd_kafka_producev(
        k->rk, RD_KAFKA_V_RKT(topic->handle), RD_KAFKA_V_KEY((void *)(uintptr_t)key.ptr, key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)body.ptr, body.len), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(event), RD_KAFKA_V_END);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        return rc;
    }
    if (k->outstanding++ == 0) {
        k->heard_us = ph_clock_mono_us();
    }
    if (k->txn) {
        ph_kafka_txn_count(k, event);
    }
    return rc;
}

/* Whether something was handed over that is not decided yet. */
static bool busy(const struct ph_kafka *k)
{
    return k->outstanding > 0 || (k->txn && k->txn->events > 0);
}

/* What came of handing one event to librdkafka: PUMP_ALL = go on, PUMP_WAIT = not now, or an error.
 */
static int after_produce(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                         const struct ph_kafka_topic *topic, rd_kafka_resp_err_t rc,
                         struct ph_error *err)
{
    switch ((int)rc) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return PUMP_ALL;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return PUMP_WAIT;
    case RD_KAFKA_RESP_ERR__FATAL:
        k->broken = !k->txn;
        break;
    default:
        break;
    }
    if (k->txn && ph_kafka_classify(rc) != PH_KAFKA_ALONE) {
        ph_kafka_txn_report(k, rc);
        return PUMP_WAIT;
    }
    if (k->broken) {
        return PUMP_WAIT;
    }
    if (ph_kafka_classify(rc) != PH_KAFKA_ALONE) {
        return ph_fail(err, PH_E_UNAVAILABLE, "topic %s: %s", topic->name, rd_kafka_err2str(rc));
    }
    if (!busy(k)) {
        char cause[512];
        (void)snprintf(cause, sizeof cause, "topic %s: %s", topic->name, rd_kafka_err2str(rc));
        refuse(k, batch, event, cause);
    }
    return PUMP_WAIT;
}

/* The state of a topic cannot be asked: that there is no answer tells less than what librdkafka
 * says of its connections (a certificate is not trusted, a password is wrong). */
int ph_kafka_say_why(struct ph_kafka *k, struct ph_error *err)
{
    k->trouble[0] = '\0';
    ph_kafka_take_reports(k, 0);
    return k->trouble[0] ? ph_fail(err, PH_E_UNAVAILABLE, "Kafka: %s", k->trouble)
                         : PH_E_UNAVAILABLE;
}

/* A topic that was not used with this producer yet. PUMP_WAIT when the producer must change first.
 */
static int meet_topic(struct ph_kafka *k, struct ph_kafka_topic *topic, struct ph_error *err)
{
    int rc = ph_kafka_topic_ask(k, topic, err);
    if (rc < 0) {
        return rc == PH_E_UNAVAILABLE ? ph_kafka_say_why(k, err) : rc;
    }
    if (!ph_kafka_topic_fits(k, topic)) {
        k->outgrown = true;
        return PUMP_WAIT;
    }
    return PUMP_ALL;
}

/* Before an event is refused by what the topic said a while ago: a person may have mended it. */
static int look_again(struct ph_kafka *k, struct ph_kafka_topic *topic, struct ph_error *err)
{
    if (ph_clock_mono_us() - topic->asked_us < LOOK_AGAIN_MS * 1000) {
        return PUMP_ALL;
    }
    topic->known = false;
    topic->asked_us = 0;
    int rc = meet_topic(k, topic, err);
    return rc == PH_E_REFUSED ? PUMP_WAIT : rc; /* told when it is met anew */
}

/* The event's topic, which this producer has met. It may take a while: not in a transaction. */
static int need_topic(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                      struct ph_kafka_topic **topic, struct ph_error *err)
{
    int rc = ph_kafka_topic_find(k, event->topic, topic, err);
    if (rc < 0 || (*topic)->known) {
        return rc;
    }
    if (k->txn && busy(k)) {
        return PUMP_WAIT;
    }
    rc = meet_topic(k, *topic, err);
    if (rc == PH_E_REFUSED && !busy(k)) {
        refuse(k, batch, event, err->text);
        ph_error_clear(err);
    }
    return rc == PH_E_REFUSED ? PUMP_WAIT : rc;
}

/* Refuses what the broker would refuse, once everything before it is decided. */
static int screen(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                  struct ph_kafka_topic *topic, struct ph_error *err)
{
    char cause[512];
    if (!ph_kafka_hopeless(k, topic, event, cause, sizeof cause)) {
        return PUMP_ALL;
    }
    int rc = busy(k) ? PUMP_WAIT : look_again(k, topic, err);
    if (rc == PUMP_ALL && ph_kafka_hopeless(k, topic, event, cause, sizeof cause)) {
        refuse(k, batch, event, cause);
        rc = PUMP_WAIT;
    }
    return rc;
}

static int hand_over(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                     struct ph_error *err)
{
    struct ph_kafka_topic *topic;
    int rc = need_topic(k, batch, event, &topic, err);
    if (rc == PUMP_ALL) {
        bool alone = event->mark && k->outstanding > 0;
        rc = alone ? PUMP_WAIT : screen(k, batch, event, topic, err);
    }
    if (rc == PUMP_ALL && k->txn && !ph_kafka_txn_open(k)) {
        rc = PUMP_WAIT;
    }
    return rc == PUMP_ALL ? after_produce(k, batch, event, topic, produce(k, topic, event), err)
                          : rc;
}

/* Whether nothing may be handed over now. */
static bool held(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event)
{
    return k->broken || k->outgrown || k->refused || k->alone ||
           (k->txn && !ph_kafka_txn_admits(k, batch, event));
}

/* One event that has no verdict yet. */
static int pump_event(struct ph_kafka *k, struct ph_batch *batch, struct ph_event *event,
                      struct ph_error *err)
{
    if (held(k, batch, event)) {
        return PUMP_WAIT;
    }
    return event->verdict == PH_PENDING ? hand_over(k, batch, event, err) : PUMP_ALL;
}

/* Hands over as much as librdkafka takes, in order. */
static int pump(struct ph_kafka *k, struct ph_error *err)
{
    for (size_t i = 0; i < k->flight_count; i++) {
        struct ph_kafka_flight *flight = &k->flights[i];
        while (flight->next < flight->batch->count) {
            struct ph_event *event = &flight->batch->events[flight->next];
            if (event->verdict == PH_PENDING) {
                int rc = pump_event(k, flight->batch, event, err);
                if (rc != PUMP_ALL) {
                    return rc < 0 ? rc : 0;
                }
                k->alone = event->mark ? event : NULL;
            }
            flight->next++;
        }
    }
    return 0;
}

static void drop_done(struct ph_kafka *k)
{
    size_t kept = 0;
    for (size_t i = 0; i < k->flight_count; i++) {
        if (!ph_batch_judged(k->flights[i].batch)) {
            k->flights[kept++] = k->flights[i];
        }
    }
    k->flight_count = kept;
}

/* A new producer, and everything that is not SENT again, from the first. */
static int renew(struct ph_kafka *k, struct ph_error *err)
{
    ph_kafka_client_end(k, on_report);
    k->renewals++;
    k->alone = NULL;
    for (size_t i = 0; i < k->flight_count; i++) {
        k->flights[i].next = 0;
    }
    return ph_kafka_client_new(k, err);
}

/* librdkafka tells that all brokers are down once, perhaps long before an event waited for them. */
static void notice_silence(struct ph_kafka *k)
{
    if (!k->down && k->outstanding > 0 && ph_clock_mono_us() - k->heard_us > SILENCE_US) {
        k->down = true;
        if (k->trouble[0] == '\0') {
            (void)snprintf(k->trouble, sizeof k->trouble, "no answer for %lld s",
                           SILENCE_US / 1000000);
        }
    }
}

/* Exactly-once: hands over, and moves the transaction on, as far as both go. */
static int poll_txn(struct ph_kafka *k, int timeout_ms, struct ph_error *err)
{
    int rc;
    ph_kafka_take_reports(k, timeout_ms);
    do {
        rc = pump(k, err);
        if (rc == 0) {
            rc = ph_kafka_txn_step(k, err);
        }
    } while (rc == 1 && !k->refused);
    drop_done(k);
    notice_silence(k);
    if (rc == 0 && k->down) {
        return ph_fail(err, PH_E_UNAVAILABLE, "Kafka: %s", k->trouble);
    }
    return rc < 0 ? rc : 0;
}

static int sink_poll(void *ctx, int timeout_ms, struct ph_error *err)
{
    struct ph_kafka *k = ctx;
    if (k->refused) {
        return 0;
    }
    if (k->txn) {
        return poll_txn(k, timeout_ms, err);
    }
    int rc = k->rk ? 0 : ph_kafka_client_new(k, err);
    if (rc == 0) {
        rc = pump(k, err);
    }
    if (rc < 0) {
        return rc;
    }
    ph_kafka_take_reports(k, k->outstanding > 0 ? timeout_ms : 0);
    notice_silence(k);
    if (!k->refused && (k->broken || (k->outgrown && k->outstanding == 0))) {
        rc = renew(k, err);
    }
    if (rc == 0 && !k->down) {
        rc = pump(k, err);
    }
    drop_done(k);
    if (rc == 0 && k->down) {
        return ph_fail(err, PH_E_UNAVAILABLE, "Kafka: %s", k->trouble);
    }
    return rc;
}

static int sink_submit(void *ctx, struct ph_batch *batch, struct ph_error *err)
{
    struct ph_kafka *k = ctx;
    if (k->flight_count >= PH_KAFKA_WINDOW_MAX) {
        return ph_fail(err, PH_E_SOFTWARE, "more than %d batches in flight", PH_KAFKA_WINDOW_MAX);
    }
    if (k->rk && k->outstanding == 0 && k->flight_count == 0) {
        ph_kafka_take_reports(k, 0); /* what was said while nothing was out is old news */
        k->down = false;
    }
    k->flights[k->flight_count++] = (struct ph_kafka_flight){.batch = batch};
    if (k->txn) {
        int rc = k->rk ? pump(k, err) : 0; /* poll makes the producer */
        drop_done(k);
        return rc;
    }
    int rc = k->rk ? 0 : ph_kafka_client_new(k, err);
    return rc < 0 || k->down ? rc : pump(k, err);
}

void ph_kafka_forget_report(struct ph_kafka *k, const rd_kafka_message_t *message)
{
    (void)k;
    (void)message;
}

static void sink_abandon(void *ctx)
{
    struct ph_kafka *k = ctx;
    if (k->txn) {
        ph_kafka_txn_abandon(k);
    } else if (k->outstanding > 0 || k->broken ||
               k->outgrown) { /* else nothing of ours is on its way */
        ph_kafka_client_end(k, ph_kafka_forget_report);
    }
    k->flight_count = 0;
    k->alone = NULL;
    k->refused = k->down = false;
    k->trouble[0] = '\0';
}

static int sink_fd(void *ctx)
{
    const struct ph_kafka *k = ctx;
    return k->wake_fd;
}

static void sink_close(void *ctx)
{
    struct ph_kafka *k = ctx;
    if (k) {
        ph_kafka_txn_free(k);
        ph_kafka_client_end(k, ph_kafka_forget_report);
        ph_kafka_topics_free(k);
        (void)close(k->wake_fd);
        ph_mem_free(k);
    }
}

static int sink_open(const struct ph_sink_env *env, const void *config, void **ret_ctx,
                     struct ph_error *err)
{
    assert(env->window_batches <= PH_KAFKA_WINDOW_MAX);
    struct ph_kafka *k = ph_mem_zero(1, sizeof *k);
    if (!k) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a Kafka sink");
    }
    k->env = env;
    k->config = config;
    k->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = k->wake_fd < 0 ? ph_fail(err, PH_E_UNAVAILABLE, "eventfd: errno %d", errno) : 0;
    if (rc == 0) {
        rc = env->exactly_once ? ph_kafka_txn_new(k, err) : ph_kafka_client_new(k, err);
    }
    if (rc < 0) {
        sink_close(k);
        return rc;
    }
    *ret_ctx = k;
    return 0;
}

const struct ph_sink_driver ph_sink_kafka = {
    .name = "kafka",
    .summary =
        "Apache Kafka, gapless; exactly-once by transactions (kafka://HOST:PORT[,HOST:PORT])",
    .options = ph_kafka_options,
    .config_size = sizeof(struct ph_kafka_config),
    .caps = PH_SINK_RECORDS | PH_SINK_CHECKPOINT,
    .refusal_order = PH_REFUSAL_PREFIX,
    .open = sink_open,
    .resume = ph_kafka_txn_resume,
    .begin = ph_kafka_txn_begin,
    .kept_at = ph_kafka_txn_kept_at,
    .row_gone = ph_kafka_txn_row_gone,
    .submit = sink_submit,
    .poll = sink_poll,
    .fd = sink_fd,
    .abandon = sink_abandon,
    .close = sink_close,
    .scan = ph_kafka_scan,
};
