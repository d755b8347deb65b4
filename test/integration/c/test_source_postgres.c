/*
 * The PostgreSQL source against a real server (PH_TEST_PG, an empty database with the schema): the
 * same sequence for every reader, batch size and resume point; large ticks by pages; the sink's
 * newer checkpoint stops the pipeline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/lease.h"
#include "core/pipeline.h"
#include "db/postgres.h"
#include "sink/memory.h"

#define EVENTS_MAX 20000

struct seen {
    struct ph_position at[EVENTS_MAX];
    struct ph_checkpoint_kept *cps; /* behind each event, when asked for */
    size_t count;
};

static const char *uri;
static const struct ph_source_driver *driver;

static void sql(PGconn *conn, const char *text)
{
    PGresult *res = PQexec(conn, text);
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        fail_msg("%s: %s", text, PQerrorMessage(conn));
    }
    PQclear(res);
}

static PGconn *db(void)
{
    PGconn *conn = PQconnectdb(uri);
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    return conn;
}

static void publish(PGconn *conn, int key, int bytes)
{
    char text[512];
    (void)snprintf(
        text, sizeof text,
        "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) "
        "VALUES ('Order', 'k%d', 'Placed', jsonb_build_object('x', repeat('y', %d)))",
        key, bytes);
    sql(conn, text);
}

/* Eight transactions that begin early and end in another order, with ticks in between, some rolled
 * back. */
static void make_history(int rounds)
{
    PGconn *maker = db();
    PGconn *writers[8];
    for (int i = 0; i < 8; i++) {
        writers[i] = db();
    }
    sql(maker, "TRUNCATE posthorn.outbox, posthorn.tick, posthorn.checkpoint, posthorn.lease");
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 8; i++) {
            sql(writers[i], "BEGIN");
            publish(writers[i], i, 20);
        }
        for (int i = 7; i >= 0; i--) {
            publish(writers[i], (i + round) % 8, 30);
            if (i % 3 == 0) {
                sql(maker, "SELECT posthorn.make_tick(9223372036854775807)");
            }
            sql(writers[i], (i + round) % 5 == 0 ? "ROLLBACK" : "COMMIT");
        }
    }
    sql(maker, "SELECT posthorn.make_tick(9223372036854775807)");
    for (int i = 0; i < 8; i++) {
        PQfinish(writers[i]);
    }
    PQfinish(maker);
}

static void *open_source(struct ph_source_env *env, void *config)
{
    struct ph_error err = {0};
    memset(config, 0, driver->config_size);
    assert_int_equal(ph_options_defaults(driver->options, config, &err), 0);
    void *ctx = NULL;
    if (driver->open(env, config, &ctx, &err) < 0) {
        fail_msg("open: %s", err.text);
    }
    return ctx;
}

static struct ph_source_env env_for(size_t batch_events, size_t batch_bytes)
{
    return (struct ph_source_env){.shards = 1,
                                  .instance = "test",
                                  .pipeline = "t",
                                  .uri = uri,
                                  .batch_events = batch_events,
                                  .batch_bytes = batch_bytes};
}

/* Reads behind cp (NULL: from the beginning) to the end of the log. */
static void read_all(size_t batch_events, size_t batch_bytes, const struct ph_checkpoint *cp,
                     struct seen *out)
{
    struct ph_source_env env = env_for(batch_events, batch_bytes);
    char config[1024];
    struct ph_error err = {0};
    void *ctx = open_source(&env, config);
    struct ph_checkpoint begin;
    struct ph_start start = {.kind = PH_START_EARLIEST};
    if (!cp) {
        assert_int_equal(driver->begin(ctx, &start, &begin, &err), 0);
        cp = &begin;
    }
    assert_int_equal(driver->seek(ctx, cp, &err), 0);
    struct ph_batch *batch = ph_batch_new(batch_events, (size_t)1 << 30);
    out->count = 0;
    int64_t deadline_us = ph_clock_mono_us() + 60000000;
    while (!driver->at_end(ctx)) {
        assert_true(ph_clock_mono_us() < deadline_us);
        int rc = driver->fetch(ctx, batch, &err);
        if (rc < 0) {
            fail_msg("fetch: %s", err.text);
        }
        if (rc != PH_FETCH_BATCH) {
            continue;
        }
        for (size_t i = 0; i < batch->count; i++) {
            const struct ph_event *event = &batch->events[i];
            assert_true(out->count < EVENTS_MAX);
            if (out->cps) {
                struct ph_checkpoint here = {.at = ph_event_at(event),
                                             .snapshot = event->span->snapshot,
                                             .base_snapshot = event->span->base_snapshot,
                                             .start_snapshot = PH_STR("3:3:")};
                assert_int_equal(ph_checkpoint_keep(&out->cps[out->count], &here, &err), 0);
            }
            out->at[out->count++] = ph_event_at(event);
        }
        ph_batch_reset(batch);
    }
    ph_batch_free(batch);
    driver->close(ctx);
}

static void assert_rising(const struct seen *seen)
{
    for (size_t i = 1; i < seen->count; i++) {
        assert_true(ph_position_cmp(seen->at[i - 1], seen->at[i]) < 0);
    }
}

static void assert_same(const struct seen *a, size_t from, const struct seen *b)
{
    assert_int_equal(a->count - from, b->count);
    for (size_t i = 0; i < b->count; i++) {
        assert_int_equal(ph_position_cmp(a->at[from + i], b->at[i]), 0);
    }
}

static int64_t count_rows(void)
{
    PGconn *conn = db();
    PGresult *res = PQexec(conn, "SELECT count(*) FROM posthorn.outbox");
    int64_t n = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);
    PQfinish(conn);
    return n;
}

static struct seen one, two;

static void test_batch_sizes_agree(void **state)
{
    (void)state;
    make_history(40);
    read_all(5000, 4 << 20, NULL, &one);
    assert_rising(&one);
    assert_int_equal(one.count, count_rows());
    static const size_t sizes[] = {1, 2, 3, 7, 16, 64, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        read_all(sizes[i], 4 << 20, NULL, &two);
        assert_same(&one, 0, &two);
    }
}

static void test_resume_at_every_event(void **state)
{
    (void)state;
    make_history(9);
    one.cps = calloc(EVENTS_MAX, sizeof *one.cps);
    read_all(5000, 4 << 20, NULL, &one);
    assert_true(one.count > 100);
    for (size_t i = 0; i < one.count; i++) {
        read_all(1 + i % 9, 4 << 20, &one.cps[i].cp, &two);
        assert_same(&one, i + 1, &two);
    }
    for (size_t i = 0; i < one.count; i++) {
        ph_checkpoint_kept_free(&one.cps[i]);
    }
    free(one.cps);
    one.cps = NULL;
}

static void test_resume_without_the_ticks_row(void **state)
{
    (void)state;
    make_history(6);
    one.cps = calloc(EVENTS_MAX, sizeof *one.cps);
    read_all(5000, 4 << 20, NULL, &one);
    size_t middle = one.count / 2;
    PGconn *conn = db();
    char text[128];
    (void)snprintf(text, sizeof text, "DELETE FROM posthorn.tick WHERE tick <= %lld",
                   (long long)one.at[middle].tick);
    sql(conn, text);
    PQfinish(conn);
    read_all(3, 4 << 20, &one.cps[middle].cp, &two);
    assert_same(&one, middle + 1, &two);
    for (size_t i = 0; i < one.count; i++) {
        ph_checkpoint_kept_free(&one.cps[i]);
    }
    free(one.cps);
    one.cps = NULL;
}

/* One transaction of many large rows: more than a batch in rows and in bytes, interleaved with
 * others' rows. */
static void test_large_tick_by_pages(void **state)
{
    (void)state;
    PGconn *conn = db(), *other = db();
    sql(conn, "TRUNCATE posthorn.outbox, posthorn.tick, posthorn.checkpoint, posthorn.lease");
    sql(conn, "BEGIN");
    for (int i = 0; i < 60; i++) {
        sql(conn, "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) "
                  "SELECT 'Order', 'k' || i, 'Placed', to_jsonb(repeat('z', CASE WHEN i = 17 THEN "
                  "300000 ELSE 200 END)) "
                  "FROM generate_series(1, 20) i");
        publish(other, i, 10);
    }
    sql(conn, "COMMIT");
    sql(conn, "SELECT posthorn.make_tick(9223372036854775807)");
    read_all(100000, (size_t)1 << 30, NULL, &one);
    assert_rising(&one);
    assert_int_equal(one.count, 1260);
    read_all(10, 4 << 20, NULL, &two);
    assert_same(&one, 0, &two);
    read_all(500, 1 << 20, NULL, &two);
    assert_same(&one, 0, &two);
    PQfinish(conn);
    PQfinish(other);
}

static void test_older_epoch_is_fenced(void **state)
{
    (void)state;
    make_history(2);
    struct ph_source_env env = env_for(100, 4 << 20);
    char config_a[1024], config_b[1024];
    struct ph_error err = {0};
    void *a = open_source(&env, config_a), *b = open_source(&env, config_b);
    struct ph_checkpoint cp;
    struct ph_start start = {.kind = PH_START_EARLIEST};
    assert_int_equal(driver->load(a, 1, &cp, &err), 0);
    assert_int_equal(driver->begin(a, &start, &cp, &err), 0);
    cp.epoch = 1;
    assert_int_equal(driver->settle(a, &cp, &err), 1);
    assert_int_equal(driver->settled(a, 5000, &err), 1);
    assert_int_equal(driver->load(b, 2, &cp, &err), 1);
    cp.epoch = 1;
    assert_int_equal(driver->settle(a, &cp, &err), 1);
    assert_int_equal(driver->settled(a, 5000, &err), PH_E_FENCED);
    driver->close(a);
    driver->close(b);
}

/* What the log calls itself, copied to name. */
static void name_log(char *name, size_t size)
{
    struct ph_source_env env = env_for(10, 1 << 20);
    static char config[1024];
    struct ph_error err = {0};
    struct ph_checkpoint cp;
    struct ph_start start = {.kind = PH_START_EARLIEST};
    void *ctx = open_source(&env, config);
    assert_int_equal(driver->begin(ctx, &start, &cp, &err), 0);
    (void)snprintf(name, size, "%.*s", PH_STR_ARG(cp.log));
    driver->close(ctx);
}

/* The sink holds what this database lost: stop, and name both positions. */
static void test_sink_knows_more_than_the_log(void **state)
{
    (void)state;
    make_history(2);
    const struct ph_sink_driver *sink = ph_sink_find("memory:ahead");
    struct ph_error err = {0};
    char source_config[1024] = {0}, sink_config[1024] = {0};
    assert_int_equal(ph_options_defaults(driver->options, source_config, &err), 0);
    assert_int_equal(ph_options_defaults(sink->options, sink_config, &err), 0);
    char log[128];
    name_log(log, sizeof log);
    struct ph_checkpoint ahead = {.at = {999999, 7},
                                  .log = ph_str_from(log),
                                  .snapshot = PH_STR("99999999:99999999:"),
                                  .base_snapshot = PH_STR("99999999:99999999:"),
                                  .start_snapshot = PH_STR("3:3:"),
                                  .timeline = 1};
    struct ph_memory_store *store = ph_memory_store_get("ahead");
    assert_int_equal(ph_memory_store_set_checkpoint(store, &ahead), 0);
    struct ph_route_config route = {0};
    assert_int_equal(ph_options_defaults(ph_route_options, &route, &err), 0);
    struct ph_pipeline_config config = {.name = "ahead",
                                        .from = uri,
                                        .to = "memory:ahead",
                                        .source = driver,
                                        .source_config = source_config,
                                        .sink = sink,
                                        .sink_config = sink_config,
                                        .route = &route,
                                        .once = true};
    assert_int_equal(ph_options_defaults(ph_pipeline_option_table, &config.options, &err), 0);
    config.options.delivery = PH_EXACTLY_ONCE;
    struct ph_stop stop;
    assert_int_equal(ph_stop_init(&stop, &err), 0);
    struct ph_pipeline *pipeline = NULL;
    assert_int_equal(ph_pipeline_new(&config, &stop, &pipeline, &err), 0);
    assert_int_equal(ph_pipeline_run(pipeline, &err), PH_E_DIVERGED);
    assert_non_null(strstr(err.text, "999999-7"));
    assert_non_null(strstr(err.text, "is at 0-0"));
    ph_pipeline_free(pipeline);
    ph_memory_store_put(store);
    ph_stop_free(&stop);
    ph_options_free(ph_pipeline_option_table, &config.options);
    ph_route_config_free(&route);
}

int main(void)
{
    uri = getenv("PH_TEST_PG");
    if (!uri) {
        (void)printf("1..0 # SKIP PH_TEST_PG names no server\n");
        return 0;
    }
    driver = ph_source_find(uri);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_sizes_agree),
        cmocka_unit_test(test_resume_at_every_event),
        cmocka_unit_test(test_resume_without_the_ticks_row),
        cmocka_unit_test(test_large_tick_by_pages),
        cmocka_unit_test(test_older_epoch_is_fenced),
        cmocka_unit_test(test_sink_knows_more_than_the_log),
    };
    return cmocka_run_group_tests_name("source_postgres", tests, NULL, NULL);
}
