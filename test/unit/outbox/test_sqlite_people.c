/* People's acts on SQLite's rows beside the log: a migrated file, listing, redrive, discard, pause.
 */
#include "sqlite_rig.h"

#include "outbox/outbox.h"

static struct ph_error err;
static const struct ph_outbox_act act = {.who = "ann@desk", .reason = "it was mended"};

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
    rig_exec(f->rig.app,
             "INSERT INTO posthorn_pipeline (pipeline) VALUES ('p'), ('q');"
             "INSERT INTO posthorn_parked (pipeline, position, key, state, queue_tick, "
             "queue_position, attempts, next_attempt_at, passed, gap_due, first_failed_at, "
             "last_error, event_id, created_at, aggregate_type, aggregate_id, event_type, payload, "
             "payload_bytes, content_type) VALUES "
             "('p', 1, 'k', 'dead', 1, 1, 3, NULL, 0, 0, 1000, 'Out of 100% luck', "
             "'00000000-0000-4000-8000-000000000001', 5, 'order', 'k', 'placed', '{\"n\": 1}', "
             "NULL, NULL),"
             "('p', 2, 'k', 'parked', 1, 2, 0, NULL, 0, 0, 2000, NULL, "
             "'00000000-0000-4000-8000-000000000002', 5, 'order', 'k', 'paid', NULL, x'00ff', "
             "'image/png'),"
             "('p', 3, 'x', 'dead', 1, 3, 3, NULL, 1, 1, 3000, 'no luck', "
             "'00000000-0000-4000-8000-000000000003', 5, 'order', 'x', 'placed', NULL, NULL, NULL),"
             "('p', 4, 'x', 'parked', 1, 4, 1, 9000, 0, 0, 3000, 'again', "
             "'00000000-0000-4000-8000-000000000004', 5, 'order', 'x', 'placed', NULL, NULL, NULL),"
             "('q', 1, NULL, 'dead', 1, 1, 3, NULL, 0, 0, 1000, 'no luck', "
             "'00000000-0000-4000-8000-000000000001', 5, 'order', 'k', 'placed', NULL, NULL, NULL),"
             "('q', 2, 'k', 'scheduled', 1, 2, 0, 9000, 0, 0, 1000, NULL, "
             "'00000000-0000-4000-8000-000000000002', 5, 'order', 'k', 'paid', NULL, NULL, NULL)");
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

/* Every row as pipeline, position, state, and whether it has a time. */
static void assert_rows(const struct fixture *f, const char *expected)
{
    char *sql = sqlite3_mprintf(
        "SELECT group_concat(t, ' ') = %Q FROM (SELECT pipeline || position || state || "
        "CASE WHEN next_attempt_at IS NULL THEN '' ELSE '+' END AS t FROM posthorn_parked ORDER BY "
        "pipeline, position)",
        expected);
    assert_int_equal(number(f, sql), 1);
    sqlite3_free(sql);
}

/* --- the schema --------------------------------------------------------------------------------
 */

/* Of version 1, with a skipped event and a dead one that somebody put there. */
static void a_file_of_version_1_is_migrated_in_place(void **state)
{
    (void)state;
    struct sqlite_rig rig = rig_new();
    const struct ph_outbox_driver *driver = ph_outbox_find(rig.uri);
    const struct ph_outbox_init how = {0};
    static const char *const gone[] = {"parked", "pipeline", "outbox", "checkpoint",
                                       "lease",  "meta",     "audit"};
    for (size_t i = 0; i < COUNT(gone); i++) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "DROP TABLE posthorn_%s", gone[i]);
        rig_exec(rig.app, sql);
    }
    rig_exec(rig.app, ph_sql_sqlite_m0001_init);
    rig_insert(&rig, "{\"n\": 1}");
    rig_exec(
        rig.app,
        "INSERT INTO posthorn_checkpoint (pipeline, position, start_position, epoch, updated_at) "
        "VALUES ('p', 1, 0, 4, 0);"
        "INSERT INTO posthorn_lease (pipeline, owner, epoch, boot_id, expires_boot_us, "
        "retention_ms) VALUES ('l', 'desk:1', 7, '', 0, 1);"
        "INSERT INTO posthorn_parked (pipeline, position, key, state, first_failed_at, event_id, "
        "created_at, aggregate_type, aggregate_id, event_type, payload_bytes) VALUES "
        "('p', 1, NULL, 'skipped', 5, 'x', 6, 'a', 'b', 'c', x'00ff'),"
        "('p', 2, 'k', 'dead', 5, 'y', 6, 'a', 'b', 'c', NULL),"
        "('p', 3, 'k', 'parked', 5, 'y', 6, 'a', 'b', 'c', NULL),"
        "('p', 4, 'k', 'sent', 5, 'y', 6, 'a', 'b', 'c', NULL)");
    void *ctx = NULL;
    assert_int_equal(driver->open(rig.uri, "test", &ctx, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "version 1"));
    for (int again = 0; again < 2; again++) {
        struct ph_buf said;
        ph_buf_init(&said, 4096);
        assert_int_equal(driver->init(rig.uri, &how, &said, &err), 0);
        assert_string_equal(ph_buf_text(&said),
                            again ? "already at version 3\n"
                                  : "migrated Posthorn's tables from version 1 to 3\n");
        ph_buf_free(&said);
    }
    assert_int_equal(rig_number(rig.app, "SELECT schema_version FROM posthorn_meta"), 3);
    assert_int_equal(rig_number(rig.app, "SELECT group_concat(position || state, ' ') = '1skipped "
                                         "2dead 3dead' FROM posthorn_parked WHERE queue_position "
                                         "= position AND queue_tick = 1"),
                     1);
    assert_int_equal(rig_number(rig.app, "SELECT payload_bytes = x'00ff' AND first_failed_at = 5 "
                                         "AND created_at = 6 FROM posthorn_parked"),
                     1);
    assert_int_equal(rig_number(rig.app, "SELECT group_concat(pipeline) = 'l,p' FROM "
                                         "posthorn_pipeline WHERE acts = 0 AND shards = 1"),
                     1);
    assert_int_equal(rig_number(rig.app, "SELECT epoch FROM posthorn_checkpoint"), 4);
    assert_int_equal(rig_number(rig.app, "SELECT count(*) FROM posthorn_outbox"), 1);
    rig_free(&rig);
}

/* --- listing -----------------------------------------------------------------------------------
 */

struct listed {
    char text[512];
    size_t payload_len;
    bool json;
};

static int list(void *arg, const struct ph_outbox_parked *row)
{
    struct listed *listed = arg;
    size_t len = strlen(listed->text);
    (void)snprintf(listed->text + len, sizeof listed->text - len, "%s%s:%s:%s ", row->pipeline,
                   row->position, row->state, row->waiting ? row->waiting : "-");
    listed->payload_len = row->payload.len;
    listed->json = row->payload_json;
    return 0;
}

static struct listed assert_list(struct fixture *f, struct ph_outbox_filter filter,
                                 const char *expected)
{
    struct listed listed = {.text = ""};
    if (f->driver->parked_list(f->ctx, &filter, list, &listed, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(listed.text, expected);
    return listed;
}

static void rows_are_listed(void **state)
{
    struct fixture *f = *state;
    assert_list(f, (struct ph_outbox_filter){0},
                "p1:dead:1 p2:parked:- p3:dead:- p4:parked:0 q1:dead:- q2:scheduled:- ");
    assert_list(f, (struct ph_outbox_filter){.limit = 2}, "p1:dead:1 p2:parked:- ");
    assert_list(f, (struct ph_outbox_filter){.pipeline = "p", .state = "dead"},
                "p1:dead:1 p3:dead:- ");
    assert_list(f, (struct ph_outbox_filter){.key = "x", .event_type = "placed"},
                "p3:dead:- p4:parked:0 ");
    assert_list(f, (struct ph_outbox_filter){.error_like = "%100\\% LUCK"}, "p1:dead:1 ");
    assert_list(f, (struct ph_outbox_filter){.since_us = 2000001}, "p3:dead:- p4:parked:0 ");
    struct listed one = assert_list(
        f,
        (struct ph_outbox_filter){
            .event_id = "00000000-0000-4000-8000-000000000001", .pipeline = "p", .content = true},
        "p1:dead:1 ");
    assert_true(one.json && one.payload_len == strlen("{\"n\": 1}"));
    one =
        assert_list(f, (struct ph_outbox_filter){.event_type = "paid", .limit = 1, .content = true},
                    "p2:parked:- ");
    assert_true(!one.json && one.payload_len == 2);
}

/* --- acts --------------------------------------------------------------------------------------
 */

static void dead_rows_are_redriven(void **state)
{
    struct fixture *f = *state;
    int64_t count = 0;
    const struct ph_outbox_filter all = {.pipeline = "p"};
    assert_int_equal(f->driver->redrive(f->ctx, &all, 0, true, &act, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_rows(f, "p1dead p2parked p3dead p4parked+ q1dead q2scheduled+");
    assert_int_equal(number(f, "SELECT sum(acts) + (SELECT count(*) FROM posthorn_audit) FROM "
                               "posthorn_pipeline"),
                     0);
    assert_int_equal(f->driver->redrive(f->ctx, &all, 4, false, &act, &count, &err), 0);
    assert_int_equal(count, 2);
    /* one that was passed comes back in front of what was due */
    assert_rows(f, "p1parked+ p2parked p3parked+ p4parked q1dead q2scheduled+");
    assert_int_equal(
        number(f, "SELECT max(next_attempt_at) - min(next_attempt_at) FROM posthorn_parked WHERE "
                  "pipeline = 'p' AND attempts = 0 AND redriven_at > 0 AND gap_due = 0"),
        250);
    assert_int_equal(number(f, "SELECT passed FROM posthorn_parked WHERE position = 3"), 1);
    assert_int_equal(number(f, "SELECT acts FROM posthorn_pipeline WHERE pipeline = 'p'"), 1);
    assert_int_equal(number(f, "SELECT acts FROM posthorn_pipeline WHERE pipeline = 'q'"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_audit WHERE act = 'redrive' AND who "
                               "= 'ann@desk' AND reason = 'it was mended' AND detail LIKE "
                               "'%\"events\":2%'"),
                     1);
    /* without a key it stands behind nobody */
    assert_int_equal(f->driver->redrive(f->ctx, &(struct ph_outbox_filter){.pipeline = "q"}, 0,
                                        false, &act, &count, &err),
                     0);
    assert_rows(f, "p1parked+ p2parked p3parked+ p4parked q1parked+ q2scheduled+");
    assert_int_equal(f->driver->redrive(f->ctx, &(struct ph_outbox_filter){.pipeline = "z"}, 0,
                                        false, &act, &count, &err),
                     PH_E_CONFIG);
    assert_non_null(strstr(err.text, "knows no pipeline"));
}

static void dead_rows_are_discarded(void **state)
{
    struct fixture *f = *state;
    int64_t count = 0;
    const struct ph_outbox_filter head = {.event_id = "00000000-0000-4000-8000-000000000004"};
    const struct ph_outbox_filter behind = {.event_id = "00000000-0000-4000-8000-000000000002"};
    const struct ph_outbox_filter key = {.key = "k"};
    assert_int_equal(f->driver->discard(f->ctx, &behind, false, &act, &count, &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(f->driver->discard(f->ctx, &head, true, &act, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_audit"), 0);
    assert_int_equal(f->driver->discard(f->ctx, &head, false, &act, &count, &err), 0);
    assert_int_equal(f->driver->discard(f->ctx, &key, false, &act, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_rows(f, "p1discarded p2parked+ p3dead p4discarded q1dead q2scheduled+");
    assert_int_equal(number(f, "SELECT count(*) FROM posthorn_audit WHERE act = 'discard'"), 2);
    assert_int_equal(number(f, "SELECT acts FROM posthorn_pipeline WHERE pipeline = 'p'"), 2);
}

static const char *paused_by;

static int hear(void *arg, const struct ph_outbox_status *status)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "%s:%s:%s:%s", status->paused_by ? status->paused_by : "-",
                   status->parked, status->dead, status->scheduled);
    paused_by = text;
    (void)arg;
    return 0;
}

static void a_pipeline_is_paused_and_resumed(void **state)
{
    struct fixture *f = *state;
    rig_exec(f->rig.app, "INSERT INTO posthorn_checkpoint (pipeline, position, start_position, "
                         "updated_at) VALUES ('p', 4, 0, 0)");
    for (int again = 0; again < 2; again++) {
        assert_int_equal(f->driver->pause(f->ctx, "p", true, &act, &err), !again);
    }
    assert_int_equal(f->driver->status(f->ctx, "p", hear, NULL, &err), 0);
    assert_string_equal(paused_by, "ann@desk:2:2:0");
    for (int again = 0; again < 2; again++) {
        assert_int_equal(f->driver->pause(f->ctx, "p", false, &act, &err), !again);
    }
    assert_int_equal(f->driver->status(f->ctx, "p", hear, NULL, &err), 0);
    assert_string_equal(paused_by, "-:2:2:0");
    assert_int_equal(f->driver->pause(f->ctx, "z", true, &act, &err), PH_E_CONFIG);
    assert_int_equal(number(f, "SELECT group_concat(act) = 'pause,resume' FROM posthorn_audit"), 1);
    assert_null(f->driver->reshard);
}

static void a_pipeline_with_scheduled_events_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    rig_exec(f->rig.app, "DELETE FROM posthorn_parked WHERE state <> 'scheduled'");
    assert_int_equal(f->driver->forget(f->ctx, "q", false, &act, &err), PH_E_CONFIG);
    assert_int_equal(f->driver->forget(f->ctx, "q", true, &act, &err), 1);
    assert_int_equal(f->driver->forget(f->ctx, "q", true, &act, &err), 0);
    assert_int_equal(number(f, "SELECT group_concat(pipeline) = 'p' FROM posthorn_pipeline"), 1);
}

#define PEOPLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_version_1_is_migrated_in_place),
        PEOPLE_TEST(rows_are_listed),
        PEOPLE_TEST(dead_rows_are_redriven),
        PEOPLE_TEST(dead_rows_are_discarded),
        PEOPLE_TEST(a_pipeline_is_paused_and_resumed),
        PEOPLE_TEST(a_pipeline_with_scheduled_events_is_not_forgotten),
    };
    return cmocka_run_group_tests_name("outbox/sqlite_people", tests, NULL, NULL);
}
