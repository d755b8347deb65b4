/* What the programs that test the Kafka sink on a real broker share: the sink, events, reading
 * back. */
#ifndef PH_TEST_KAFKA_FIXTURE_H
#define PH_TEST_KAFKA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/sys.h"
#include "core/sink.h"

#define COUNT 1000

static char uri[256];
static const struct ph_sink_driver *driver;
static struct ph_sink_env env;

static inline void warn(const char *pipeline, const char *text)
{
    (void)pipeline;
    (void)text;
}

struct fixture {
    char config[16384];
    void *sink;
    struct ph_batch *batch;
};

static inline void open_sink(struct fixture *f, const char *const *sets)
{
    struct ph_error err = {0};
    memset(f->config, 0, sizeof f->config);
    assert_true(driver->config_size <= sizeof f->config);
    assert_int_equal(ph_options_defaults(driver->options, f->config, &err), 0);
    for (; sets && sets[0]; sets += 2) {
        assert_int_equal(ph_option_set(driver->options, f->config, "sink.", ph_str_from(sets[0]),
                                       ph_str_from(sets[1]), &err),
                         0);
    }
    if (driver->open(&env, f->config, &f->sink, &err) < 0) {
        fail_msg("open: %s", err.text);
    }
    f->batch = ph_batch_new(COUNT, (size_t)1 << 30);
    assert_non_null(f->batch);
}

static inline void close_sink(struct fixture *f)
{
    driver->close(f->sink);
    ph_options_free(driver->options, f->config);
    ph_batch_free(f->batch);
}

static inline struct ph_str text(struct ph_batch *batch, const char *s)
{
    return (struct ph_str){ph_arena_copy(&batch->arena, s, strlen(s)), strlen(s)};
}

/* Bytes that no codec makes smaller. */
static inline struct ph_str noise(struct ph_batch *batch, size_t len)
{
    char *bytes = ph_arena_alloc(&batch->arena, len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)ph_rand_u64();
    }
    return (struct ph_str){bytes, len};
}

static inline struct ph_event *add(struct fixture *f, const char *topic, int number, int key,
                                   size_t len)
{
    struct ph_batch *batch = f->batch;
    struct ph_tick_span *span = ph_arena_alloc(&batch->arena, sizeof *span);
    *span = (struct ph_tick_span){.tick = 1};
    char name[64], at[PH_POSITION_TEXT_MAX], id[PH_UUID_TEXT_LEN + 1];
    struct ph_event *event = ph_batch_add(batch);
    event->span = span;
    event->position = number;
    ph_uuid_random(&event->id);
    ph_uuid_format(&event->id, id);
    ph_position_format((struct ph_position){1, number}, at);
    (void)snprintf(name, sizeof name, "key-%d", key);
    event->topic = text(batch, topic);
    event->key = key < 0 ? (struct ph_str){0} : text(batch, name);
    event->body = len < 1000 ? text(batch, "{\"a\":1}") : noise(batch, len);
    event->headers = ph_arena_alloc(&batch->arena, 2 * sizeof *event->headers);
    event->headers[0] = (struct ph_header){PH_STR("id"), text(batch, id)};
    event->headers[1] = (struct ph_header){PH_STR("posthorn-position"), text(batch, at)};
    event->header_count = 2;
    return event;
}

/* Polls until the batch is done or refused. */
static inline void settle(struct fixture *f, int limit_ms)
{
    struct ph_error err = {0};
    int64_t deadline_us = ph_clock_mono_us() + limit_ms * 1000LL;
    while (!ph_batch_done(f->batch) && f->batch->refused == 0) {
        int rc = driver->poll(f->sink, 50, &err);
        assert_true(rc == 0 || rc == PH_E_UNAVAILABLE);
        if (ph_clock_mono_us() > deadline_us) {
            fail_msg("%zu of %zu settled in time; %s", f->batch->settled, f->batch->count,
                     err.text);
        }
    }
}

static inline void submit(struct fixture *f)
{
    struct ph_error err = {0};
    int rc = driver->submit(f->sink, f->batch, &err);
    if (rc < 0 && rc != PH_E_UNAVAILABLE) {
        fail_msg("submit: %s", err.text);
    }
}

struct found {
    char key[64];
    int64_t after; /* events of the key behind this position are counted */
    int later, total;
};

static inline int count_record(void *arg, const struct ph_record *record)
{
    struct found *found = arg;
    found->total++;
    if (ph_str_is(record->key, found->key) && record->at.position >= found->after) {
        found->later++;
    }
    return 0;
}

static inline struct found read_back(struct fixture *f, const char *topic, const char *key,
                                     int64_t after)
{
    struct found found = {.after = after};
    struct ph_error err = {0};
    (void)snprintf(found.key, sizeof found.key, "%s", key);
    struct ph_str names[1] = {ph_str_from(topic)};
    if (driver->scan(&env, f->config, names, 1, count_record, &found, &err) < 0) {
        fail_msg("scan: %s", err.text);
    }
    return found;
}

#endif
