/* The SQLite outbox driver: what people's commands ask of a log, apart from the commands. */
#include "sqlite_rig.h"

#include "base/clock.h"
#include "outbox/outbox.h"

static struct ph_error err;

struct fixture {
    struct sqlite_rig rig;
    const struct ph_outbox_driver *driver;
    void *ctx;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->rig = rig_new();
    f->driver = ph_outbox_find(f->rig.uri);
    return f->driver && f->driver->open(f->rig.uri, "test", &f->ctx, &err) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->driver->close(f->ctx);
    rig_free(&f->rig);
    free(f);
    return 0;
}

static int64_t number(const struct fixture *f, const char *sql)
{
    return rig_number(f->rig.app, sql);
}

/* --- publish -----------------------------------------------------------------------------------
 */

static struct ph_outbox_event event_of(const char *id, const char *payload)
{
    return (struct ph_outbox_event){
        .aggregate_type = PH_STR("order"),
        .aggregate_id = ph_str_from(id),
        .event_type = PH_STR("placed"),
        .payload = ph_str_from(payload),
    };
}

static void publish_keeps_the_order_of_the_array(void **state)
{
    struct fixture *f = *state;
    struct ph_outbox_event events[] = {event_of("c", "1"), event_of("a", NULL),
                                       event_of("b", "{}")};
    events[1].headers = PH_STR("{\"h\":\"v\"}");
    events[2].id = PH_STR("6F9619FF-8B86-4011-B42D-00CF4FC964FF");
    size_t bad;
    bool unknown = true;
    assert_int_equal(f->driver->begin(f->ctx, &err), 0);
    assert_int_equal(f->driver->insert(f->ctx, events, COUNT(events), &bad, &err), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox"), 0);
    assert_int_equal(f->driver->commit(f->ctx, &unknown, &err), 0);
    assert_false(unknown);
    assert_int_equal(
        number(f, "SELECT group_concat(aggregate_id, '') = 'cab' FROM posthorn_outbox"), 1);
    assert_int_equal(number(f, "SELECT payload IS NULL AND headers = '{\"h\":\"v\"}' "
                               "FROM posthorn_outbox WHERE position = 2"),
                     1);
    assert_int_equal(number(f, "SELECT event_id = '6f9619ff-8b86-4011-b42d-00cf4fc964ff' "
                               "FROM posthorn_outbox WHERE position = 3"),
                     1);
}

static void the_event_at_fault_is_named_and_nothing_is_kept(void **state)
{
    struct fixture *f = *state;
    struct ph_outbox_event bad_events[] = {event_of("", "1"), event_of("a", "{"),
                                           event_of("a", "1"), event_of("a", "1"),
                                           event_of("\xff", "1")};
    bad_events[2].headers = PH_STR("[]");
    bad_events[3].id = PH_STR("seven");
    for (size_t i = 0; i < COUNT(bad_events); i++) {
        struct ph_outbox_event events[] = {event_of("a", "1"), bad_events[i], event_of("a", "1")};
        size_t bad = 0;
        assert_int_equal(f->driver->begin(f->ctx, &err), 0);
        assert_int_equal(f->driver->insert(f->ctx, events, COUNT(events), &bad, &err), PH_E_DATA);
        assert_int_equal(bad, 1);
        assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox"), 0);
    }
}

/* --- cleanup -----------------------------------------------------------------------------------
 */

struct told {
    char text[512];
};

static int tell(void *arg, const struct ph_outbox_part *part)
{
    struct told *told = arg;
    size_t len = strlen(told->text);
    (void)snprintf(told->text + len, sizeof told->text - len, "%s %s %lld: %s\n", part->name,
                   part->action, (long long)part->events, part->reason);
    return 0;
}

static void assert_cleanup(struct fixture *f, int64_t retention_ms, bool dry_run,
                           const char *expected)
{
    struct told told = {""};
    if (f->driver->cleanup(f->ctx, retention_ms, dry_run, tell, &told, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(told.text, expected);
}

static void events_of_age(struct fixture *f, int count, int64_t age_ms)
{
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, "
                   "created_at) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                   "WHERE i < %d) SELECT 'a', 'b', 'c', %lld FROM n",
                   count, (long long)(ph_clock_wall_us() / 1000 - age_ms));
    rig_exec(f->rig.app, sql);
}

#define DAY_MS 86400000LL

static void checkpoint_at(struct fixture *f, const char *pipeline, int position)
{
    char sql[256];
    (void)snprintf(
        sql, sizeof sql,
        "INSERT OR REPLACE INTO posthorn_checkpoint (pipeline, position, start_position, "
        "updated_at) VALUES ('%s', %d, 0, 0)",
        pipeline, position);
    rig_exec(f->rig.app, sql);
}

static void cleanup_takes_what_is_settled_and_old(void **state)
{
    struct fixture *f = *state;
    assert_cleanup(f, -1, false, "outbox empty 0: empty\n");
    events_of_age(f, 15000, 8 * DAY_MS);
    events_of_age(f, 5, -DAY_MS); /* says it is of tomorrow: as old as its neighbours */
    events_of_age(f, 10, 8 * DAY_MS);
    events_of_age(f, 100, DAY_MS);
    assert_cleanup(f, -1, false, "outbox kept 15115: no pipeline has read the log yet\n");
    checkpoint_at(f, "fast", 15115);
    checkpoint_at(f, "slow", 12000);
    assert_cleanup(f, -1, true,
                   "outbox clear 12000: settled\noutbox kept 3115: pipeline slow, shard 0, which "
                   "has settled up to 12000, or the retention\n");
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox"), 15115);
    assert_cleanup(f, -1, false,
                   "outbox cleared 12000: settled\noutbox kept 3115: pipeline slow, shard 0, which "
                   "has settled up to 12000, or the retention\n");
    checkpoint_at(f, "slow", 15115);
    assert_cleanup(f, -1, false, "outbox cleared 3015: settled\noutbox kept 100: the retention\n");
    assert_int_equal(number(f, "SELECT min(position) FROM posthorn_outbox"), 15016);
    assert_cleanup(f, 1000, false, "outbox cleared 100: settled\n");
    rig_insert(&f->rig, "1");
    assert_int_equal(number(f, "SELECT position FROM posthorn_outbox"), 15116);
}

/* --- verify ------------------------------------------------------------------------------------
 */

static enum ph_origin origin(struct fixture *f, int64_t position, const char *id)
{
    struct ph_outbox_question question = {.position = position};
    enum ph_origin out = PH_ORIGIN_NONE;
    assert_true(ph_uuid_parse(ph_str_from(id), &question.id));
    assert_int_equal(f->driver->verify_lookup(f->ctx, &question, 1, &out, &err), 0);
    return out;
}

static void the_log_knows_where_records_come_from(void **state)
{
    struct fixture *f = *state;
    static const char *const id = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
    int64_t oldest = -1;
    assert_int_equal(f->driver->verify_oldest(f->ctx, &oldest, &err), 0);
    assert_int_equal(oldest, 0); /* nothing can have been cleared */
    assert_int_equal(origin(f, 1, id), PH_ORIGIN_NONE);
    events_of_age(f, 5, 0);
    rig_exec(f->rig.app, "UPDATE posthorn_outbox SET event_id = "
                         "'6f9619ff-8b86-4011-b42d-00cf4fc964ff' WHERE position = 4");
    rig_exec(f->rig.app, "DELETE FROM posthorn_outbox WHERE position < 3");
    assert_int_equal(f->driver->verify_oldest(f->ctx, &oldest, &err), 0);
    assert_int_equal(oldest, 3);
    assert_int_equal(origin(f, 4, id), PH_ORIGIN_KNOWN);
    assert_int_equal(origin(f, 5, id), PH_ORIGIN_NONE);
    assert_int_equal(origin(f, 2, id), PH_ORIGIN_GONE);
    assert_int_equal(origin(f, 6, id), PH_ORIGIN_NONE);
    rig_exec(f->rig.app, "DELETE FROM posthorn_outbox");
    assert_int_equal(f->driver->verify_oldest(f->ctx, &oldest, &err), 0);
    assert_true(oldest == INT64_MAX);
    assert_int_equal(origin(f, 5, id), PH_ORIGIN_GONE);
    assert_int_equal(origin(f, 6, id), PH_ORIGIN_NONE);
}

/* --- forget and erase --------------------------------------------------------------------------
 */

static const struct ph_outbox_act act = {.who = "ann@desk", .reason = "moved"};

static void forgotten_pipelines_hold_nothing_back(void **state)
{
    struct fixture *f = *state;
    char boot[PH_SQLITE_BOOT_ID_SIZE], sql[512];
    ph_sqlite_boot_id(boot);
    assert_int_equal(f->driver->forget(f->ctx, "old", false, &act, &err), 0);
    checkpoint_at(f, "old", 3);
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO posthorn_lease (pipeline, owner, epoch, boot_id, expires_boot_us, "
                   "retention_ms) VALUES ('old', 'desk:1', 7, '%s', %lld, 1)",
                   boot, (long long)ph_clock_mono_us() + 60000000);
    rig_exec(f->rig.app, sql);
    assert_int_equal(f->driver->forget(f->ctx, "old", false, &act, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "desk:1"));
    rig_exec(f->rig.app, "UPDATE posthorn_lease SET expires_boot_us = 0");
    rig_exec(f->rig.app,
             "INSERT INTO posthorn_parked (pipeline, position, queue_tick, queue_position, state, "
             "first_failed_at, event_id, created_at, aggregate_type, aggregate_id, event_type) "
             "VALUES ('old', 2, 1, 2, 'dead', 0, 'x', 0, 'a', 'b', 'c');"
             "INSERT INTO posthorn_pipeline (pipeline) VALUES ('old')");
    assert_int_equal(f->driver->forget(f->ctx, "old", false, &act, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "1 parked, dead or scheduled"));
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_checkpoint"), 1);
    assert_int_equal(f->driver->forget(f->ctx, "old", true, &act, &err), 1);
    assert_int_equal(number(f, "SELECT (SELECT count(*) FROM posthorn_checkpoint) + (SELECT "
                               "count(*) FROM posthorn_lease) + (SELECT count(*) FROM "
                               "posthorn_parked) + (SELECT count(*) FROM posthorn_pipeline)"),
                     0);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_audit WHERE act = 'forget' AND who = "
                               "'ann@desk' AND reason = 'moved' AND detail LIKE '%\"old\"%'"),
                     1);
    /* an instance that slept through it still has an older epoch than the next one */
    assert_int_equal(number(f, "SELECT epoch_floor FROM posthorn_meta"), 7);
}

static void erasing_leaves_the_row(void **state)
{
    struct fixture *f = *state;
    int64_t erased = 0;
    rig_insert(&f->rig, "{\"name\":\"Ann Onymous\"}");
    rig_exec(f->rig.app,
             "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, headers, "
             "payload_bytes) VALUES ('order', 'o-1', 'c', '{\"ip\":\"10.0.0.1\"}', x'0102');"
             "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload) "
             "VALUES ('order', 'o-2', 'c', '7');"
             "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type) "
             "VALUES ('order', 'o-1', 'tombstone');"
             "INSERT INTO posthorn_parked (pipeline, position, queue_tick, queue_position, state, "
             "first_failed_at, event_id, created_at, aggregate_type, aggregate_id, event_type, "
             "payload) VALUES ('p', 1, 1, 1, 'dead', 0, 'x', 0, 'order', 'o-1', 'c', "
             "'\"Ann Onymous\"')");
    assert_int_equal(f->driver->erase(f->ctx, "order", "o-1", &act, &erased, &err), 0);
    assert_int_equal(erased, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox WHERE payload = "
                               "'{\"erased\": true}' AND headers = '{}'"),
                     1);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox WHERE payload_bytes = "
                               "CAST('{\"erased\": true}' AS BLOB) AND headers = '{}' AND "
                               "content_type = 'application/json'"),
                     1);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox WHERE payload = '7'"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_outbox"), 4);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_audit WHERE act = 'erase'"), 1);
    assert_int_equal(f->driver->erase(f->ctx, "order", "o-1", &act, &erased, &err), 0);
    assert_int_equal(erased, 0);
    assert_int_equal(sqlite3_exec(f->rig.app, "DELETE FROM posthorn_audit", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT);
}

/* The bytes must not stay in free pages or in the WAL. */
static void what_is_erased_is_not_in_the_files(void **state)
{
    struct fixture *f = *state;
    int64_t erased = 0;
    rig_insert(&f->rig, "{\"name\":\"Ann Onymous\"}");
    assert_int_equal(f->driver->erase(f->ctx, "order", "o-1", &act, &erased, &err), 0);
    static const char *const ends[] = {"", "-wal"};
    for (size_t i = 0; i < COUNT(ends); i++) {
        char path[128];
        static char bytes[1 << 20];
        (void)snprintf(path, sizeof path, "%s%s", f->rig.path, ends[i]);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t len = fread(bytes, 1, sizeof bytes, file);
        /* not closed: that would drop the locks which SQLite holds in this program */
        assert_null(memmem(bytes, len, "Ann Onymous", 11));
    }
}

#define OUTBOX_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(publish_keeps_the_order_of_the_array),
        OUTBOX_TEST(the_event_at_fault_is_named_and_nothing_is_kept),
        OUTBOX_TEST(cleanup_takes_what_is_settled_and_old),
        OUTBOX_TEST(the_log_knows_where_records_come_from),
        OUTBOX_TEST(forgotten_pipelines_hold_nothing_back),
        OUTBOX_TEST(erasing_leaves_the_row),
        OUTBOX_TEST(what_is_erased_is_not_in_the_files),
    };
    return cmocka_run_group_tests_name("outbox/sqlite", tests, NULL, NULL);
}
