/*
 * Parked rows of the SQLite source: each change and what it does to the queue of its key, what is
 * due and what is held, fencing, another's lock, what is on disk, and the cost of rows that wait.
 */
#include "sqlite_rig.h"

#include <sys/syscall.h>

#include "base/clock.h"
#include "core/source.h"

struct world {
    struct sqlite_rig rig;
    struct ph_source_env env;
    const struct ph_source_driver *driver;
    unsigned char config[64];
    void *source, *lease;
    struct ph_batch *batch;
};

static struct ph_error err;

/* --- clock and disk ----------------------------------------------------------------------------
 */

static int64_t wall_us; /* of the program: it moves when a test moves it */

static int64_t set_clock(void)
{
    return wall_us;
}

static int syncs;

/* In front of libc's, for SQLite. */
int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

/* --- the world ---------------------------------------------------------------------------------
 */

static struct ph_sys real_sys;

/* A log of `events` events, read by pipeline p under epoch 1 up to the checkpoint at `settled`. */
static struct world *world_new(int events, int settled)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    real_sys = ph_sys;
    ph_sys.wall_us = set_clock;
    wall_us = 1000000000000000;
    w->rig = rig_new();
    rig_exec(w->rig.app, "BEGIN");
    for (int i = 0; i < events; i++) {
        rig_insert(&w->rig, "{\"n\": 1}");
    }
    rig_exec(w->rig.app, "COMMIT");
    w->env = (struct ph_source_env){.pipeline = "p",
                                    .shards = 1,
                                    .instance = "unit",
                                    .uri = w->rig.uri,
                                    .batch_events = 100,
                                    .batch_bytes = 1 << 20};
    w->driver = ph_source_find("sqlite:x");
    assert_true(w->driver->config_size <= sizeof w->config);
    assert_int_equal(ph_options_defaults(w->driver->options, w->config, &err), 0);
    assert_int_equal(w->driver->open(&w->env, w->config, &w->source, &err), 0);
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO posthorn_checkpoint (pipeline, position, start_position, epoch, "
                   "updated_at) VALUES ('p', %d, 0, 1, 0)",
                   settled);
    rig_exec(w->rig.app, sql);
    struct ph_checkpoint cp;
    assert_int_equal(w->driver->load(w->source, 1, &cp, &err), 1);
    w->batch = ph_batch_new(100, (size_t)1 << 24);
    return w;
}

static void world_free(struct world *w)
{
    ph_batch_free(w->batch);
    w->driver->close(w->source);
    if (w->lease) {
        w->driver->lease_close(w->lease);
    }
    rig_free(&w->rig);
    free(w);
    ph_sys = real_sys;
}

static struct ph_park_change put_of(int64_t position, const char *key, enum ph_park_state state,
                                    int64_t wait_ms)
{
    return (struct ph_park_change){.act = PH_PARK_PUT,
                                   .state = state,
                                   .at = {1, position},
                                   .key = ph_str_from(key),
                                   .wait_ms = wait_ms};
}

static struct ph_park_change change_of(enum ph_park_act act, int64_t position)
{
    return (struct ph_park_change){.act = act, .at = {1, position}, .wait_ms = -1};
}

static void park(struct world *w, const struct ph_park_change *changes, size_t count)
{
    if (w->driver->park(w->source, 1, changes, count, &err) != 1 ||
        w->driver->settled(w->source, 0, &err) != 1) {
        fail_msg("%s", err.text);
    }
}

static void park_one(struct world *w, struct ph_park_change change)
{
    park(w, &change, 1);
}

/* Every row as "position state@ms", ms from the clock's beginning and "-" for none. */
static void assert_rows(const struct world *w, const char *expected)
{
    sqlite3_stmt *stmt = NULL;
    const char *sql = "SELECT group_concat(t, ' ') FROM (SELECT position || state || '@' || "
                      "coalesce(next_attempt_at - 1000000000000, '-') AS t FROM posthorn_parked "
                      "ORDER BY position)";
    assert_int_equal(sqlite3_prepare_v2(w->rig.app, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    const char *found = (const char *)sqlite3_column_text(stmt, 0);
    assert_string_equal(found ? found : "", expected);
    (void)sqlite3_finalize(stmt);
}

/* What is due, as positions. */
static void assert_due(struct world *w, const char *expected, int64_t wait_ms)
{
    char found[1024] = "";
    struct ph_due due = {0};
    ph_batch_reset(w->batch);
    if (w->driver->due(w->source, w->batch, &due, &err) != PH_FETCH_BATCH) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < w->batch->count; i++) {
        size_t len = strlen(found);
        (void)snprintf(found + len, sizeof found - len, "%s%lld", i ? " " : "",
                       (long long)w->batch->events[i].position);
    }
    assert_string_equal(found, expected);
    assert_int_equal(due.wait_ms, wait_ms);
}

static void pass_ms(int64_t ms)
{
    wall_us += ms * 1000;
}

/* --- changes -----------------------------------------------------------------------------------
 */

static void test_put_copies_the_row_of_the_log(void **state)
{
    (void)state;
    struct world *w = world_new(6, 6);
    rig_exec(w->rig.app, "UPDATE posthorn_outbox SET headers = '{\"h\": \"v\"}', payload = "
                         "'{\"erased\": true}', deliver_after = 1000000005000 WHERE position = 4");
    struct ph_park_change puts[] = {
        put_of(1, "k", PH_PARK_PARKED, 100), put_of(2, "k", PH_PARK_PARKED, -1),
        put_of(3, NULL, PH_PARK_PARKED, -1), put_of(4, "k", PH_PARK_SCHEDULED, -1),
        put_of(5, "d", PH_PARK_DEAD, -1),    put_of(6, "d", PH_PARK_PARKED, -1),
    };
    puts[0].attempts = 3;
    puts[0].error = PH_STR("it \"broke\"\n\xff");
    park(w, puts, COUNT(puts));
    assert_rows(w, "1parked@100 2parked@- 3parked@0 4scheduled@5000 5dead@- 6parked@-");
    assert_int_equal(rig_number(w->rig.app, "SELECT attempts = 3 AND last_error LIKE 'it "
                                            "\"broke\"%' FROM posthorn_parked WHERE position = 1"),
                     1);
    assert_int_equal(
        rig_number(w->rig.app,
                   "SELECT count(*) FROM posthorn_parked JOIN posthorn_outbox USING (position, "
                   "event_id, created_at, aggregate_type, aggregate_id, event_type, headers, "
                   "payload) WHERE queue_position = position AND queue_tick = 1"),
        6);
    /* the log brought it again after a crash: what is there stays */
    puts[0].attempts = 9;
    park(w, puts, 1);
    assert_int_equal(
        rig_number(w->rig.app, "SELECT attempts FROM posthorn_parked WHERE position = 1"), 3);
    world_free(w);
}

static void test_a_row_that_left_the_log_is_no_loss(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    park_one(w, put_of(1, "k", PH_PARK_DEAD, -1));
    rig_exec(w->rig.app, "DELETE FROM posthorn_outbox");
    const struct ph_park_change puts[] = {put_of(1, "k", PH_PARK_DEAD, -1),
                                          put_of(2, "k", PH_PARK_PARKED, -1)};
    park(w, puts, 1);
    assert_int_equal(w->driver->park(w->source, 1, puts, 2, &err), PH_E_UNAVAILABLE);
    assert_non_null(strstr(err.text, "position 2"));
    assert_rows(w, "1dead@-");
    assert_int_equal(w->driver->settled(w->source, 0, &err), 1);
    world_free(w);
}

static void test_the_next_of_a_key_follows_one_that_is_gone(void **state)
{
    (void)state;
    struct world *w = world_new(5, 5);
    struct ph_park_change puts[5];
    for (int i = 0; i < 5; i++) {
        puts[i] = put_of(i + 1, "k", PH_PARK_PARKED, i == 0 ? 50 : -1);
    }
    park(w, puts, 5);
    assert_due(w, "", 50);
    pass_ms(60);
    assert_due(w, "1 2 3 4 5", 0);
    struct ph_park_change outcome[] = {change_of(PH_PARK_SENT, 1), change_of(PH_PARK_FAILED, 2)};
    outcome[1].wait_ms = 200;
    outcome[1].attempts = 2;
    park(w, outcome, 2);
    assert_rows(w, "2parked@260 3parked@- 4parked@- 5parked@-");
    struct ph_park_change dead = change_of(PH_PARK_FAILED, 2);
    dead.state = PH_PARK_DEAD;
    park_one(w, dead);
    assert_rows(w, "2dead@- 3parked@- 4parked@- 5parked@-");
    assert_due(w, "", -1);
    /* an operator gave it up while it was away: an outcome that comes late changes nothing */
    rig_exec(w->rig.app, "UPDATE posthorn_parked SET state = 'discarded' WHERE position = 2");
    park_one(w, outcome[1]);
    assert_rows(w, "2discarded@- 3parked@- 4parked@- 5parked@-");
    world_free(w);
}

static void test_a_key_goes_on_behind_a_gap(void **state)
{
    (void)state;
    struct world *w = world_new(3, 3);
    const struct ph_park_change puts[] = {put_of(1, "k", PH_PARK_PARKED, 0),
                                          put_of(2, "k", PH_PARK_PARKED, -1),
                                          put_of(3, "k", PH_PARK_PARKED, -1)};
    park(w, puts, 3);
    struct ph_park_change dead = change_of(PH_PARK_FAILED, 1);
    dead.state = PH_PARK_DEAD;
    dead.passed = true;
    park_one(w, dead);
    assert_rows(w, "1dead@- 2parked@0 3parked@-");
    assert_due(w, "2 3", 0);
    const struct ph_park_row *row = w->batch->events[0].park;
    static const char gap[] = "SELECT gap_due FROM posthorn_parked WHERE position = 1";
    assert_int_equal(rig_number(w->rig.app, gap), 1);
    assert_true(row->state == PH_PARK_PARKED && !row->passed);
    assert_str(row->key, "k");
    const struct ph_park_change after[] = {change_of(PH_PARK_SENT, 2), change_of(PH_PARK_TOLD, 1)};
    park(w, after, 2);
    assert_rows(w, "1dead@- 3parked@0");
    assert_due(w, "3", 0);
    assert_int_equal(rig_number(w->rig.app, gap), 0);
    world_free(w);
}

/* After a crash the log brings an earlier event of the key anew, and this time it fails. */
static void test_what_is_put_in_front_makes_the_head_wait(void **state)
{
    (void)state;
    struct world *w = world_new(4, 4);
    park_one(w, put_of(3, "k", PH_PARK_PARKED, 10));
    const struct ph_park_change puts[] = {put_of(2, "k", PH_PARK_PARKED, 70),
                                          put_of(4, "k", PH_PARK_PARKED, 5)};
    park(w, puts, 2);
    assert_rows(w, "2parked@70 3parked@- 4parked@-");
    park_one(w, put_of(1, "k", PH_PARK_DEAD, -1));
    assert_rows(w, "1dead@- 2parked@- 3parked@- 4parked@-");
    world_free(w);
}

static void test_scheduled_rows_join_the_queue(void **state)
{
    (void)state;
    struct world *w = world_new(6, 6);
    rig_exec(w->rig.app, "UPDATE posthorn_outbox SET deliver_after = 1000000000000 + "
                         "CASE position WHEN 1 THEN 20 ELSE 10 END WHERE position IN (1, 2, 5, 6)");
    const struct ph_park_change puts[] = {
        put_of(1, "k", PH_PARK_SCHEDULED, -1), put_of(2, "k", PH_PARK_SCHEDULED, -1),
        put_of(3, "k", PH_PARK_PARKED, 1000),  put_of(4, "k", PH_PARK_PARKED, -1),
        put_of(5, "x", PH_PARK_SCHEDULED, -1), put_of(6, NULL, PH_PARK_SCHEDULED, -1),
    };
    park(w, puts, COUNT(puts));
    assert_due(w, "", 10);
    pass_ms(30);
    assert_due(w, "2 5 6 1", 0);
    assert_int_equal(w->batch->events[0].park->state, PH_PARK_SCHEDULED);
    assert_int_equal(w->batch->events[0].deliver_after_us, 1000000000010000);
    const struct ph_park_change queue[] = {change_of(PH_PARK_QUEUE, 1), change_of(PH_PARK_QUEUE, 2),
                                           change_of(PH_PARK_QUEUE, 5),
                                           change_of(PH_PARK_QUEUE, 6)};
    park(w, queue, COUNT(queue));
    assert_rows(w, "1parked@- 2parked@- 3parked@1000 4parked@- 5parked@30 6parked@30");
    pass_ms(1000);
    assert_due(w, "5 6 3 4 2 1", 0); /* behind the last of the queue, by deliver_after */
    world_free(w);
}

static void test_a_scheduled_row_that_fails_has_its_own_place(void **state)
{
    (void)state;
    struct world *w = world_new(3, 3);
    rig_exec(w->rig.app, "UPDATE posthorn_outbox SET deliver_after = 1 WHERE position IN (1, 3)");
    const struct ph_park_change puts[] = {put_of(1, "k", PH_PARK_SCHEDULED, -1),
                                          put_of(2, "k", PH_PARK_PARKED, 10),
                                          put_of(3, "k", PH_PARK_SCHEDULED, -1)};
    park(w, puts, 3);
    struct ph_park_change failed[] = {change_of(PH_PARK_FAILED, 1), change_of(PH_PARK_FAILED, 3)};
    failed[0].wait_ms = failed[1].wait_ms = 100;
    park(w, failed, 2);
    assert_rows(w, "1parked@100 2parked@- 3parked@-");
    world_free(w);
}

/* --- due and held ------------------------------------------------------------------------------
 */

static void test_only_what_the_checkpoint_has_passed_is_due(void **state)
{
    (void)state;
    struct world *w = world_new(4, 2);
    const struct ph_park_change puts[] = {
        put_of(1, "k", PH_PARK_PARKED, 0), put_of(2, "k", PH_PARK_PARKED, -1),
        put_of(3, "k", PH_PARK_PARKED, -1), put_of(4, "x", PH_PARK_PARKED, 0)};
    park(w, puts, 4);
    assert_due(w, "1 2", 0);
    rig_exec(w->rig.app, "UPDATE posthorn_checkpoint SET position = 4");
    assert_due(w, "1 2 3 4", 0);
    rig_exec(w->rig.app, "UPDATE posthorn_parked SET state = 'dead' WHERE position = 2");
    assert_due(w, "1 4", 0);
    rig_exec(w->rig.app, "UPDATE posthorn_checkpoint SET epoch = 2");
    struct ph_due due;
    ph_batch_reset(w->batch);
    assert_int_equal(w->driver->due(w->source, w->batch, &due, &err), PH_E_FENCED);
    world_free(w);
}

static void test_a_due_batch_is_bounded(void **state)
{
    (void)state;
    struct world *w = world_new(9, 9);
    struct ph_park_change puts[9];
    for (int i = 0; i < 9; i++) {
        puts[i] = put_of(i + 1, i < 6 ? "k" : NULL, PH_PARK_PARKED, i < 6 && i > 0 ? -1 : 0);
    }
    park(w, puts, 9);
    w->env.batch_events = 4;
    assert_due(w, "1 2 3 4", 0);
    w->env.batch_events = 8;
    assert_due(w, "1 2 3 4 5 6 7 8", 0);
    w->env.batch_bytes = 25; /* of 10 an event */
    assert_due(w, "1 2", 0);
    w->env.batch_bytes = 1;
    assert_due(w, "1", 0);
    world_free(w);
}

struct heard {
    char text[512];
};

static int hear(void *arg, const struct ph_held *held)
{
    struct heard *heard = arg;
    size_t len = strlen(heard->text);
    (void)snprintf(heard->text + len, sizeof heard->text - len, "%.*s:%lld:%lld%s ",
                   PH_STR_ARG(held->key), (long long)held->rows,
                   (long long)(held->ahead ? held->at.position : held->gap_at.position),
                   held->ahead ? "!" : "");
    return 0;
}

static void test_held_tells_who_waits(void **state)
{
    (void)state;
    struct world *w = world_new(8, 7);
    struct ph_park_change puts[] = {
        put_of(1, "a", PH_PARK_PARKED, 0),    put_of(2, "a", PH_PARK_PARKED, -1),
        put_of(3, "b", PH_PARK_DEAD, -1),     put_of(4, "c", PH_PARK_DEAD, -1),
        put_of(5, "d", PH_PARK_SCHEDULED, 0), put_of(6, NULL, PH_PARK_DEAD, -1),
        put_of(7, "a", PH_PARK_DEAD, -1),     put_of(8, "e", PH_PARK_PARKED, 0),
    };
    puts[3].passed = puts[6].passed = true;
    rig_exec(w->rig.app, "UPDATE posthorn_outbox SET deliver_after = 1 WHERE position = 5");
    park(w, puts, COUNT(puts));
    rig_exec(w->rig.app, "INSERT INTO posthorn_pipeline (pipeline, acts) VALUES ('p', 7)");
    struct heard heard = {""};
    struct ph_park_totals totals;
    assert_int_equal(w->driver->held(w->source, hear, &heard, &totals, &err), 0);
    assert_string_equal(heard.text, ":0:8! a:2:7 b:1:0 c:0:4 e:1:0 ");
    assert_int_equal(totals.parked, 3);
    assert_int_equal(totals.dead, 4);
    assert_int_equal(totals.scheduled, 1);
    assert_int_equal(totals.acts, 7);
    world_free(w);
}

/* --- fencing, locks, disk ----------------------------------------------------------------------
 */

static void test_a_newer_epoch_refuses_changes(void **state)
{
    (void)state;
    struct world *w = world_new(1, 1);
    rig_exec(w->rig.app, "UPDATE posthorn_checkpoint SET epoch = 2");
    const struct ph_park_change put = put_of(1, "k", PH_PARK_PARKED, 0);
    assert_int_equal(w->driver->park(w->source, 1, &put, 1, &err), PH_E_FENCED);
    assert_rows(w, "");
    rig_exec(w->rig.app, "BEGIN IMMEDIATE; ROLLBACK"); /* no lock is left */
    assert_int_equal(w->driver->park(w->source, 2, &put, 1, &err), 1);
    assert_rows(w, "1parked@0");
    world_free(w);
}

static void test_park_waits_beside_anothers_lock(void **state)
{
    (void)state;
    struct world *w = world_new(2, 1);
    struct ph_checkpoint cp;
    assert_int_equal(w->driver->load(w->source, 1, &cp, &err), 1);
    rig_exec(w->rig.app, "BEGIN IMMEDIATE");
    char key[] = "k";
    struct ph_park_change put = put_of(1, key, PH_PARK_PARKED, 0);
    assert_int_equal(w->driver->park(w->source, 1, &put, 1, &err), 1);
    put.at.position = 2; /* what was given is not used any more */
    key[0] = 'z';
    assert_int_equal(w->driver->settled(w->source, 20, &err), 0);
    assert_int_equal(w->driver->park(w->source, 1, &put, 1, &err), 0);
    assert_int_equal(w->driver->settle(w->source, &cp, &err), 0);
    assert_true(w->driver->due_us(w->source) <= ph_clock_mono_us() + 1000);
    assert_rows(w, "");
    rig_exec(w->rig.app, "ROLLBACK");
    assert_int_equal(w->driver->settled(w->source, 20, &err), 1);
    assert_rows(w, "1parked@0");
    assert_int_equal(rig_number(w->rig.app, "SELECT key = 'k' FROM posthorn_parked"), 1);
    world_free(w);
}

static void test_a_new_row_is_on_disk_when_it_is_told(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    syncs = 0;
    park_one(w, put_of(1, "k", PH_PARK_PARKED, 0));
    assert_true(syncs > 0);
    syncs = 0;
    park_one(w, change_of(PH_PARK_SENT, 1));
    assert_int_equal(syncs, 0); /* lost, it is sent again */
    world_free(w);
}

/* --- cost --------------------------------------------------------------------------------------
 */

static void assert_plan(struct world *w, const char *sql, const char *index)
{
    char *explain = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(w->rig.app, explain, -1, &stmt, NULL), SQLITE_OK);
    bool used = false;
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(stmt, 3);
        used = used || strstr(line, index) != NULL;
        if (strncmp(line, "SCAN p", 6) == 0 || strstr(line, "TEMP B-TREE FOR ORDER")) {
            fail_msg("%s\n%s", sql, line);
        }
    }
    (void)sqlite3_finalize(stmt);
    if (!used) {
        fail_msg("%s\ndoes not use %s", sql, index);
    }
    sqlite3_free(explain);
}

static void test_rows_that_are_not_due_cost_nothing(void **state)
{
    (void)state;
    struct world *w = world_new(1, 1);
    rig_exec(w->rig.app, "UPDATE posthorn_checkpoint SET position = 1000000");
    rig_exec(w->rig.app,
             "INSERT INTO posthorn_parked (pipeline, position, key, state, queue_tick, "
             "queue_position, next_attempt_at, first_failed_at, event_id, created_at, "
             "aggregate_type, aggregate_id, event_type) WITH RECURSIVE n (i) AS (SELECT 2 UNION "
             "ALL SELECT i + 1 FROM n WHERE i < 100001) SELECT 'p', i, 'k' || (i % 1000), "
             "'parked', 1, i, CASE WHEN i < 1002 THEN 1000000060000 END, 0, 'x', 0, 'a', 'b', 'c' "
             "FROM n");
    assert_plan(w, ph_sql_sqlite_q_due, "posthorn_parked_due");
    assert_plan(w, ph_sql_sqlite_q_due_next, "posthorn_parked_due");
    assert_plan(w, ph_sql_sqlite_q_due_queue, "posthorn_parked_queue");
    assert_plan(w, ph_sql_sqlite_q_park_head, "posthorn_parked_queue");
    assert_plan(w, ph_sql_sqlite_q_park_queue, "posthorn_parked_queue");
    assert_plan(w, ph_sql_sqlite_q_held, "posthorn_parked_queue");
    int64_t began_us = ph_clock_mono_us();
    for (int i = 0; i < 100; i++) {
        assert_due(w, "", 60000);
    }
    int64_t took_us = ph_clock_mono_us() - began_us;
    assert_true(took_us < 100 * 20000);               /* reading them all takes more */
    park_one(w, put_of(1, "k7", PH_PARK_PARKED, -1)); /* in front of 100 */
    w->env.batch_events = 4;
    assert_due(w, "1 7 1007 2007", 0);
    world_free(w);
}

/* 1,000 events of one key, put and sent in one list each. */
static void test_a_long_list(void **state)
{
    (void)state;
    enum { COUNT_MAX = 1000 };
    struct world *w = world_new(COUNT_MAX, COUNT_MAX);
    static struct ph_park_change changes[COUNT_MAX];
    for (int which = 0; which < 2; which++) {
        for (int i = 0; i < COUNT_MAX; i++) {
            changes[i] = which ? change_of(PH_PARK_SENT, i + 1)
                               : put_of(i + 1, "k", PH_PARK_PARKED, i == 0 ? 0 : -1);
        }
        park(w, changes, COUNT_MAX);
        assert_int_equal(rig_number(w->rig.app, "SELECT count(*) FROM posthorn_parked"),
                         which ? 0 : COUNT_MAX);
    }
    world_free(w);
}

/* --- the lease and shards ----------------------------------------------------------------------
 */

static void test_the_lease_hears_of_a_pause(void **state)
{
    (void)state;
    struct world *w = world_new(0, 0);
    int64_t epoch = 0;
    struct ph_lease_said said = {.excess = true};
    assert_int_equal(w->driver->lease_open(&w->env, w->config, &w->lease, &err), 0);
    assert_int_equal(w->driver->lease_claim(w->lease, "a", 60000, &epoch, &said, &err), 1);
    assert_false(said.paused || said.excess);
    assert_int_equal(rig_number(w->rig.app, "SELECT shards FROM posthorn_pipeline WHERE pipeline = "
                                            "'p' AND paused_at IS NULL"),
                     1);
    rig_exec(w->rig.app, "UPDATE posthorn_pipeline SET paused_at = 1");
    assert_int_equal(w->driver->lease_renew(w->lease, "a", epoch, 60000, NULL, &said, &err), 0);
    assert_true(said.paused);
    rig_exec(w->rig.app, "UPDATE posthorn_pipeline SET paused_at = NULL");
    assert_int_equal(w->driver->lease_renew(w->lease, "a", epoch, 60000, NULL, &said, &err), 0);
    assert_false(said.paused);
    rig_exec(w->rig.app, "UPDATE posthorn_pipeline SET paused_at = 1");
    assert_int_equal(w->driver->lease_claim(w->lease, "a", 60000, &epoch, &said, &err), 1);
    assert_true(said.paused);
    world_free(w);
}

static void test_shards_need_another_database(void **state)
{
    (void)state;
    struct world *w = world_new(0, 0);
    void *ctx = NULL;
    w->env.shards = 2;
    assert_int_equal(w->driver->open(&w->env, w->config, &ctx, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "shards needs PostgreSQL"));
    assert_int_equal(w->driver->lease_open(&w->env, w->config, &ctx, &err), PH_E_CONFIG);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_copies_the_row_of_the_log),
        cmocka_unit_test(test_a_row_that_left_the_log_is_no_loss),
        cmocka_unit_test(test_the_next_of_a_key_follows_one_that_is_gone),
        cmocka_unit_test(test_a_key_goes_on_behind_a_gap),
        cmocka_unit_test(test_what_is_put_in_front_makes_the_head_wait),
        cmocka_unit_test(test_scheduled_rows_join_the_queue),
        cmocka_unit_test(test_a_scheduled_row_that_fails_has_its_own_place),
        cmocka_unit_test(test_only_what_the_checkpoint_has_passed_is_due),
        cmocka_unit_test(test_a_due_batch_is_bounded),
        cmocka_unit_test(test_held_tells_who_waits),
        cmocka_unit_test(test_a_newer_epoch_refuses_changes),
        cmocka_unit_test(test_park_waits_beside_anothers_lock),
        cmocka_unit_test(test_a_new_row_is_on_disk_when_it_is_told),
        cmocka_unit_test(test_rows_that_are_not_due_cost_nothing),
        cmocka_unit_test(test_a_long_list),
        cmocka_unit_test(test_the_lease_hears_of_a_pause),
        cmocka_unit_test(test_shards_need_another_database),
    };
    return cmocka_run_group_tests_name("source/sqlite_park", tests, NULL, NULL);
}
