/* The memory source: order, ticks, resuming anywhere, checkpoints, fencing, leases, faults. */
#include "unit.h"

#include <poll.h>
#include <pthread.h>

#include "base/clock.h"
#include "source/memory.h"

static const struct ph_source_driver *const driver = &ph_source_memory;

struct fixture {
    struct ph_memory_log *log;
    struct ph_source_env env;
    struct ph_batch *batch;
    void *ctx;
};

static int setup_uncounted(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->log = ph_memory_log_get("test");
    f->env = (struct ph_source_env){
        .pipeline = "p", .uri = "memory:test", .batch_events = 4, .batch_bytes = 1000};
    f->batch = ph_batch_new(10, 1 << 20);
    return f->log && f->batch && driver->open(&f->env, NULL, &f->ctx, NULL) == 0 ? 0 : -1;
}

/* unit.h's count of blocks is for one thread. */
static int setup(void **state)
{
    (void)unit_memory_watch(state);
    return setup_uncounted(state);
}

static int teardown_uncounted(void **state)
{
    struct fixture *f = *state;
    driver->close(f->ctx);
    ph_batch_free(f->batch);
    ph_memory_log_put(f->log);
    free(f);
    return 0;
}

static int teardown(void **state)
{
    (void)teardown_uncounted(state);
    return unit_memory_restore(state);
}

static int64_t append(struct fixture *f, const char *type)
{
    struct ph_event event = {.aggregate_type = PH_STR("Order"),
                             .aggregate_id = PH_STR("order-1"),
                             .event_type = ph_str_from(type),
                             .payload = PH_STR("{}")};
    return ph_memory_log_append(f->log, &event);
}

static void begin(struct fixture *f, enum ph_start_kind kind)
{
    struct ph_checkpoint cp;
    assert_int_equal(driver->load(f->ctx, 1, &cp, NULL), 0);
    struct ph_start start = {.kind = kind};
    assert_int_equal(driver->begin(f->ctx, &start, &cp, NULL), 0);
    assert_int_equal(driver->seek(f->ctx, &cp, NULL), 0);
}

static int fetch(struct fixture *f)
{
    ph_batch_reset(f->batch);
    return driver->fetch(f->ctx, f->batch, NULL);
}

static void open_needs_a_log(void **state)
{
    struct fixture *f = *state;
    struct ph_source_env env = f->env;
    struct ph_error err = {0};
    void *ctx = NULL;
    env.uri = "memory:nobody";
    assert_int_equal(driver->open(&env, NULL, &ctx, &err), PH_E_CONFIG);
    assert_int_equal(driver->lease_open(&env, NULL, &ctx, &err), PH_E_CONFIG);
    assert_null(ctx);
}

static void events_come_whole(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    assert_true(driver->at_end(f->ctx));
    struct ph_event event = {.aggregate_type = PH_STR("A"),
                             .aggregate_id = PH_STR("1"),
                             .event_type = PH_STR("E"),
                             .content_type = PH_STR("image/png"),
                             .payload = {"\0\1", 2},
                             .headers_json = PH_STR("{\"a\": 1}"),
                             .xid = 77,
                             .created_us = 5};
    event.id.bytes[3] = 9;
    assert_int_equal(ph_memory_log_append(f->log, &event), 1);
    assert_int_equal(append(f, "second"), 2);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 2);
    const struct ph_event *got = f->batch->events;
    assert_str(got->aggregate_type, "A");
    assert_str(got->content_type, "image/png");
    assert_str(got->headers_json, "{\"a\": 1}");
    assert_int_equal(got->payload.len, 2);
    assert_int_equal(got->xid, 77);
    assert_int_equal(got->created_us, 5);
    assert_int_equal(got->id.bytes[3], 9);
    assert_null(got[1].content_type.ptr);
    assert_true(got[1].created_us > 0);
    assert_int_equal(ph_event_at(got).tick, 1);
    assert_true(f->batch->has_end);
    assert_int_equal(f->batch->end.at.position, 2);
    assert_str(f->batch->end.snapshot, "1.0");
    assert_str(f->batch->end.base_snapshot, "1.0");
    assert_str(f->batch->end.start_snapshot, "0.0");
    assert_int_equal(f->batch->end.timeline, 1);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
}

static void batches_are_bounded(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    for (int i = 0; i < 6; i++) {
        (void)append(f, "E");
    }
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 4);
    assert_str(f->batch->end.snapshot, "1.0");
    assert_str(f->batch->end.base_snapshot, "0.0");
    assert_false(driver->at_end(f->ctx));
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 2);
    assert_str(f->batch->end.base_snapshot, "1.0");
    char big[900];
    memset(big, 'x', sizeof big);
    struct ph_event event = {.payload = {big, sizeof big}};
    for (int i = 0; i < 3; i++) {
        (void)ph_memory_log_append(f->log, &event);
    }
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 1);
}

static void ticks_hold_what_they_held(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    ph_memory_log_manual_ticks(f->log, true);
    struct ph_event event = {.position = 5};
    assert_int_equal(ph_memory_log_append(f->log, &event), 5);
    event.position = 2;
    assert_int_equal(ph_memory_log_append(f->log, &event), 2);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    assert_int_equal(ph_memory_log_tick(f->log), 1);
    event.position = 3;
    assert_int_equal(ph_memory_log_append(f->log, &event), 3);
    assert_int_equal(ph_memory_log_tick(f->log), 2);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    static const int64_t expected[][2] = {{1, 2}, {1, 5}, {2, 3}};
    assert_int_equal(f->batch->count, COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(f->batch->events[i].span->tick, expected[i][0]);
        assert_int_equal(f->batch->events[i].position, expected[i][1]);
    }
    assert_str(f->batch->events[2].span->base_snapshot, "1.0");
    assert_int_equal(ph_memory_log_append(f->log, &(struct ph_event){0}), 6);
}

static void empty_ticks_move_the_end(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    (void)ph_memory_log_tick(f->log);
    (void)ph_memory_log_tick(f->log);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 0);
    assert_int_equal(f->batch->end.at.tick, 2);
    assert_str(f->batch->end.snapshot, "2.0");
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    (void)append(f, "E");
    (void)ph_memory_log_tick(f->log);
    (void)ph_memory_log_tick(f->log);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 1);
    assert_int_equal(f->batch->end.at.tick, 4);
    assert_int_equal(f->batch->end.at.position, 0);
}

static void starts(void **state)
{
    struct fixture *f = *state;
    (void)append(f, "E");
    begin(f, PH_START_LATEST);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    (void)append(f, "F");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 1);
    assert_str(f->batch->events[0].event_type, "F");
    begin(f, PH_START_EARLIEST);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 2);
    struct ph_start start = {.kind = PH_START_TIME, .time_us = 1};
    struct ph_checkpoint cp;
    assert_int_equal(driver->begin(f->ctx, &start, &cp, NULL), 0);
    assert_int_equal(cp.at.tick, 0);
    start.time_us = INT64_MAX;
    assert_int_equal(driver->begin(f->ctx, &start, &cp, NULL), 0);
    assert_int_equal(cp.at.tick, 2);
    assert_int_equal(cp.at.position, 2);
}

/* From every event on, the rest is the same, whatever the size of the batches. */
static void resume_anywhere(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 40; i++) {
        (void)append(f, "E");
        if (i % 7 == 3) {
            (void)ph_memory_log_tick(f->log);
        }
        if (i % 11 == 5) {
            (void)ph_memory_log_tick(f->log);
        }
    }
    struct ph_checkpoint cp = {.snapshot = PH_STR("0.0")};
    struct ph_checkpoint_kept at = {0};
    for (int64_t next = 1; next <= 40; next++) {
        f->env.batch_events = 1 + (size_t)next % 5;
        assert_int_equal(ph_checkpoint_keep(&at, &cp, NULL), 0);
        assert_int_equal(driver->seek(f->ctx, &at.cp, NULL), 0);
        for (int64_t expected = next; expected <= 40;) {
            assert_int_equal(fetch(f), PH_FETCH_BATCH);
            for (size_t i = 0; i < f->batch->count; i++) {
                assert_int_equal(f->batch->events[i].position, expected++);
            }
        }
        f->env.batch_events = 1;
        assert_int_equal(driver->seek(f->ctx, &at.cp, NULL), 0);
        assert_int_equal(fetch(f), PH_FETCH_BATCH);
        if (f->batch->count == 0) {
            assert_int_equal(fetch(f), PH_FETCH_BATCH);
        }
        cp = f->batch->end;
    }
    ph_checkpoint_kept_free(&at);
}

static void settle_and_load(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    (void)append(f, "E");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    struct ph_checkpoint cp = f->batch->end;
    ph_memory_log_stall(f->log, PH_MEMORY_SETTLE, 2);
    assert_int_equal(driver->settled(f->ctx, 0, NULL), 1);
    assert_int_equal(driver->settle(f->ctx, &cp, NULL), 1);
    assert_int_equal(driver->settle(f->ctx, &cp, NULL), 0);
    assert_int_equal(driver->settled(f->ctx, 0, NULL), 0);
    struct ph_checkpoint_kept kept = {0};
    assert_int_equal(ph_memory_log_checkpoint(f->log, "p", 0, &kept), 0);
    assert_int_equal(driver->settled(f->ctx, 5, NULL), 1);
    assert_int_equal(ph_memory_log_checkpoint(f->log, "p", 0, &kept), 1);
    assert_int_equal(kept.cp.at.position, 1);
    assert_int_equal(ph_memory_log_checkpoint(f->log, "p", 1, &kept), 0);
    ph_checkpoint_kept_free(&kept);
    struct ph_checkpoint loaded;
    assert_int_equal(driver->load(f->ctx, 2, &loaded, NULL), 1);
    assert_int_equal(loaded.at.position, 1);
    assert_int_equal(driver->contains(f->ctx, &loaded, NULL), 1);
    assert_int_equal(driver->seek(f->ctx, &loaded, NULL), 0);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
}

static void older_epochs_are_fenced(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    (void)append(f, "E");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    void *other;
    struct ph_checkpoint cp = f->batch->end, ignored;
    struct ph_error err = {0};
    assert_int_equal(driver->open(&f->env, NULL, &other, NULL), 0);
    assert_int_equal(driver->load(other, 2, &ignored, NULL), 0);
    assert_int_equal(driver->settle(f->ctx, &cp, NULL), 1);
    assert_int_equal(driver->settled(f->ctx, 0, &err), PH_E_FENCED);
    assert_int_equal(driver->load(f->ctx, 1, &ignored, &err), PH_E_FENCED);
    assert_int_equal(driver->settled(f->ctx, 0, &err), 1);
    driver->close(other);
}

static void fail_over(void **state)
{
    struct fixture *f = *state;
    struct ph_checkpoint_kept first = {0}, second = {0};
    struct ph_error err = {0};
    begin(f, PH_START_EARLIEST);
    (void)append(f, "E");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(ph_checkpoint_keep(&first, &f->batch->end, NULL), 0);
    (void)append(f, "F");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(ph_checkpoint_keep(&second, &f->batch->end, NULL), 0);
    (void)append(f, "lost too");
    ph_memory_log_fail_over(f->log, 1);
    assert_int_equal(driver->timeline(f->ctx), 2);
    assert_int_equal(driver->seek(f->ctx, &second.cp, &err), PH_E_DIVERGED);
    assert_non_null(strstr(err.text, "2-2"));
    assert_int_equal(driver->contains(f->ctx, &first.cp, NULL), 0);
    assert_int_equal(driver->seek(f->ctx, &first.cp, NULL), 0);
    first.cp.timeline = 2;
    assert_int_equal(driver->contains(f->ctx, &first.cp, NULL), 1);
    (void)append(f, "G");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 1);
    assert_str(f->batch->events[0].event_type, "G");
    assert_int_equal(f->batch->end.at.tick, 2);
    second.cp.timeline = 2;
    assert_int_equal(driver->contains(f->ctx, &second.cp, NULL), 0);
    ph_memory_log_fail_over(f->log, INT64_MAX);
    assert_int_equal(driver->timeline(f->ctx), 3);
    assert_int_equal(driver->seek(f->ctx, &first.cp, NULL), 0);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    ph_checkpoint_kept_free(&first);
    ph_checkpoint_kept_free(&second);
}

static void clearing(void **state)
{
    struct fixture *f = *state;
    struct ph_checkpoint_kept first = {0};
    begin(f, PH_START_EARLIEST);
    for (int i = 0; i < 4; i++) {
        (void)append(f, "E");
        (void)ph_memory_log_tick(f->log);
        if (i == 0) {
            assert_int_equal(fetch(f), PH_FETCH_BATCH);
            assert_int_equal(ph_checkpoint_keep(&first, &f->batch->end, NULL), 0);
        }
    }
    (void)append(f, "untold");
    ph_memory_log_clear(f->log, 2);
    assert_int_equal(driver->contains(f->ctx, &first.cp, NULL), 1);
    assert_int_equal(driver->seek(f->ctx, &first.cp, NULL), 0);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->count, 3);
    assert_int_equal(f->batch->events[0].position, 3);
    ph_memory_log_clear(f->log, 100);
    ph_memory_log_clear(f->log, 100);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    (void)append(f, "E");
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(f->batch->events[0].position, 6);
    ph_checkpoint_kept_free(&first);
}

static void lease(void **state)
{
    struct fixture *f = *state;
    void *a, *b;
    int64_t epoch = 0, other = 0;
    struct ph_error err = {0};
    assert_int_equal(driver->lease_open(&f->env, NULL, &a, NULL), 0);
    assert_int_equal(driver->lease_open(&f->env, NULL, &b, NULL), 0);
    assert_int_equal(driver->lease_claim(a, "a", 60000, &epoch, NULL, NULL), 1);
    assert_int_equal(epoch, 1);
    assert_int_equal(driver->lease_claim(b, "b", 60000, &other, NULL, NULL), 0);
    assert_int_equal(driver->lease_renew(a, "a", 1, 60000, "an error", NULL, NULL), 0);
    assert_int_equal(driver->lease_renew(b, "b", 1, 60000, NULL, NULL, &err), PH_E_FENCED);
    assert_int_equal(driver->lease_release(b, "b", 1, true, &err), PH_E_FENCED);
    ph_memory_log_expire(f->log, "p", 0);
    assert_int_equal(driver->lease_renew(a, "a", 1, 60000, NULL, NULL, &err), PH_E_FENCED);
    assert_int_equal(driver->lease_claim(b, "b", 0, &other, NULL, NULL), 1);
    assert_int_equal(other, 2);
    assert_int_equal(driver->lease_claim(a, "a", 60000, &epoch, NULL, NULL), 1);
    assert_int_equal(epoch, 3);
    assert_int_equal(driver->lease_claim(a, "a", 60000, &epoch, NULL, NULL), 1);
    assert_int_equal(driver->lease_renew(a, "a", 3, 60000, NULL, NULL, &err), PH_E_FENCED);
    assert_int_equal(driver->lease_release(a, "a", 4, true, NULL), 0);
    assert_int_equal(driver->lease_claim(b, "b", 60000, &other, NULL, NULL), 1);
    assert_int_equal(ph_memory_log_epoch(f->log, "p", 0), 5);
    ph_memory_log_fail(f->log, PH_MEMORY_RENEW, 0, 1, PH_E_UNAVAILABLE);
    ph_memory_log_fail(f->log, PH_MEMORY_CLAIM, 0, 1, PH_E_UNAVAILABLE);
    assert_int_equal(driver->lease_renew(b, "b", 5, 1, NULL, NULL, NULL), PH_E_UNAVAILABLE);
    assert_int_equal(driver->lease_claim(b, "b", 1, &other, NULL, NULL), PH_E_UNAVAILABLE);
    driver->lease_close(a);
    driver->lease_close(b);
    driver->lease_close(NULL);
}

static void faults(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    void *other = NULL;
    begin(f, PH_START_EARLIEST);
    (void)append(f, "E");
    ph_memory_log_fail(f->log, PH_MEMORY_FETCH, 1, 2, PH_E_UNAVAILABLE);
    ph_memory_log_stall(f->log, PH_MEMORY_FETCH, 1);
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    assert_false(driver->at_end(f->ctx));
    assert_int_equal(fetch(f), PH_E_UNAVAILABLE);
    assert_int_equal(fetch(f), PH_E_UNAVAILABLE);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    struct ph_checkpoint cp = f->batch->end;
    struct ph_checkpoint_kept kept = {0};
    ph_memory_log_fail(f->log, PH_MEMORY_SETTLE, 0, 1, PH_E_UNAVAILABLE);
    assert_int_equal(driver->settle(f->ctx, &cp, NULL), 1);
    assert_int_equal(driver->settled(f->ctx, 0, &err), PH_E_UNAVAILABLE);
    assert_int_equal(ph_memory_log_checkpoint(f->log, "p", 0, &kept), 0);
    ph_memory_log_fail(f->log, PH_MEMORY_SETTLED, 0, 1, PH_E_UNAVAILABLE);
    assert_int_equal(driver->settle(f->ctx, &cp, NULL), 1);
    assert_int_equal(driver->settled(f->ctx, 0, &err), PH_E_UNAVAILABLE);
    assert_int_equal(ph_memory_log_checkpoint(f->log, "p", 0, &kept), 1);
    ph_checkpoint_kept_free(&kept);
    ph_memory_log_fail(f->log, PH_MEMORY_OPEN, 0, 1, PH_E_UNAVAILABLE);
    assert_int_equal(driver->open(&f->env, NULL, &other, &err), PH_E_UNAVAILABLE);
    ph_memory_log_fail(f->log, PH_MEMORY_LOAD, 0, 5, PH_E_DATA);
    assert_int_equal(driver->load(f->ctx, 1, &cp, &err), PH_E_DATA);
    ph_memory_log_fail(f->log, PH_MEMORY_LOAD, 0, 0, 0);
    assert_int_equal(driver->load(f->ctx, 1, &cp, &err), 1);
}

static void fd_tells_of_events(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    struct pollfd waited = {.fd = driver->fd(f->ctx), .events = POLLIN};
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
    assert_int_equal(poll(&waited, 1, 0), 0);
    assert_true(driver->due_us(f->ctx) > ph_clock_mono_us());
    (void)append(f, "E");
    assert_int_equal(poll(&waited, 1, 0), 1);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
    assert_int_equal(poll(&waited, 1, 0), 0);
}

static void *write_many(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 2000; i++) {
        (void)append(f, "E");
    }
    return NULL;
}

static void writers_and_reader(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    pthread_t writers[4];
    for (size_t i = 0; i < COUNT(writers); i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, write_many, f), 0);
    }
    struct ph_position last = {0, 0};
    size_t got = 0;
    while (got < 8000) {
        if (fetch(f) != PH_FETCH_BATCH) {
            continue;
        }
        for (size_t i = 0; i < f->batch->count; i++) {
            struct ph_position at = ph_event_at(&f->batch->events[i]);
            assert_true(ph_position_cmp(last, at) < 0);
            last = at;
        }
        got += f->batch->count;
    }
    for (size_t i = 0; i < COUNT(writers); i++) {
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    }
    assert_int_equal(fetch(f), PH_FETCH_NOTHING);
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    begin(f, PH_START_EARLIEST);
    void *ctx = NULL;
    int rc = -1;
    for (long ok = 0; rc < 0 && ok < 20; ok++) {
        unit_memory_fail_after(ok);
        rc = driver->open(&f->env, NULL, &ctx, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
    }
    assert_int_equal(rc, 0);
    driver->close(ctx);
    for (long ok = 0; ok < 3; ok++) {
        unit_memory_fail_after(ok);
        struct ph_memory_log *log = ph_memory_log_get("another");
        assert_int_equal(log != NULL, ok == 2);
        ph_memory_log_put(log);
    }
    unit_memory_fail_after(0);
    assert_int_equal(append(f, "E"), PH_E_NOMEM);
    unit_memory_fail_after(-1);
    (void)append(f, "E");
    unit_memory_fail_after(0);
    assert_int_equal(fetch(f), PH_E_NOMEM);
    unit_memory_fail_after(-1);
    assert_int_equal(fetch(f), PH_FETCH_BATCH);
}

#define MEMORY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMORY_TEST(open_needs_a_log),
        MEMORY_TEST(events_come_whole),
        MEMORY_TEST(batches_are_bounded),
        MEMORY_TEST(ticks_hold_what_they_held),
        MEMORY_TEST(empty_ticks_move_the_end),
        MEMORY_TEST(starts),
        MEMORY_TEST(resume_anywhere),
        MEMORY_TEST(settle_and_load),
        MEMORY_TEST(older_epochs_are_fenced),
        MEMORY_TEST(fail_over),
        MEMORY_TEST(clearing),
        MEMORY_TEST(lease),
        MEMORY_TEST(faults),
        MEMORY_TEST(fd_tells_of_events),
        MEMORY_TEST(memory_fails),
        cmocka_unit_test_setup_teardown(writers_and_reader, setup_uncounted, teardown_uncounted),
    };
    return cmocka_run_group_tests_name("source/memory", tests, NULL, NULL);
}
