/* The library on SQLite: what is refused and in which words, what is stored, and that a call is
 * whole or nothing. */
#include "unit.h"

#include <posthorn/sqlite.h>
#include <sqlite3.h>

#include "sql_sqlite.h"

static sqlite3 *db;
static struct posthorn_event event;
static struct posthorn_error error;
static char id[POSTHORN_ID_SIZE];

static int start(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, ph_sql_sqlite_m0001_init, NULL, NULL, NULL), SQLITE_OK);
    event = (struct posthorn_event){.aggregate_type = "order",
                                    .aggregate_id = "1",
                                    .event_type = "Placed",
                                    .payload = "{}",
                                    .payload_bytes = 2};
    return 0;
}

static int finish(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_close(db), SQLITE_OK); /* a statement left open would be SQLITE_BUSY */
    return 0;
}

static void run(const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static int64_t count(const char *where)
{
    char sql[256];
    sqlite3_stmt *stmt;
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM posthorn_outbox WHERE %s", where);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t found = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return found;
}

static void assert_refused(int status, const char *words)
{
    (void)snprintf(id, sizeof id, "untouched");
    assert_int_equal(posthorn_publish_sqlite(db, &event, id, &error), status);
    assert_int_equal(error.status, status);
    if (!strstr(error.text, words)) {
        fail_msg("\"%s\" is not in \"%s\"", words, error.text);
    }
    assert_string_equal(id, "untouched");
    assert_int_equal(posthorn_publish_sqlite(db, &event, NULL, NULL), status);
    assert_int_equal(count("true"), 0);
}

static void published(void)
{
    int rc = posthorn_publish_sqlite(db, &event, id, &error);
    if (rc != 0) {
        fail_msg("%s", error.text);
    }
    assert_string_equal(error.text, "");
}

/* --- what is asked of the caller ---------------------------------------------------------------
 */

static void needs_a_transaction(void **state)
{
    (void)state;
    assert_refused(POSTHORN_E_USAGE, "no transaction is open");
    run("BEGIN");
    published();
    run("ROLLBACK");
    assert_int_equal(count("true"), 0);
    run("BEGIN");
    published();
    run("COMMIT");
    assert_int_equal(count("true"), 1);
}

static void arguments(void **state)
{
    (void)state;
    run("BEGIN");
    assert_int_equal(posthorn_publish_sqlite(NULL, &event, NULL, &error), POSTHORN_E_USAGE);
    assert_int_equal(posthorn_publish_sqlite(db, NULL, NULL, &error), POSTHORN_E_USAGE);
    assert_int_equal(posthorn_publish_batch_sqlite(db, NULL, 0, NULL, &error), 0);
    assert_int_equal(
        posthorn_publish_batch_sqlite(db, &event, POSTHORN_BATCH_MAX + 1, NULL, &error),
        POSTHORN_E_USAGE);
    event.flags = 2;
    assert_refused(POSTHORN_E_USAGE, "unknown flag");
    event.flags = POSTHORN_STRICT;
    event.reserved_1[3] = &event;
    assert_refused(POSTHORN_E_USAGE, "not zeroed");
    event.reserved_1[3] = NULL;
    event.header_count = 1;
    assert_refused(POSTHORN_E_USAGE, "headers is NULL");
    event.header_count = 0;
    event.payload = NULL;
    assert_refused(POSTHORN_E_USAGE, "payload is NULL");
}

static void names(void **state)
{
    (void)state;
    static char huge[POSTHORN_NAME_MAX + 2];
    memset(huge, 'x', sizeof huge - 1);
    run("BEGIN");
    event.aggregate_type = NULL;
    assert_refused(POSTHORN_E_DATA, "aggregate_type must not be empty");
    event.aggregate_type = huge;
    assert_refused(POSTHORN_E_DATA, "aggregate_type is longer than 8192 bytes");
    event.aggregate_type = huge + 1;
    event.aggregate_id = "";
    assert_refused(POSTHORN_E_DATA, "aggregate_id must not be empty");
    event.aggregate_id = "\xC3";
    assert_refused(POSTHORN_E_DATA, "aggregate_id is not UTF-8");
    event.aggregate_id = "it's \"1\"\\; DROP TABLE posthorn_outbox";
    event.event_type = "\xED\xA0\x80";
    assert_refused(POSTHORN_E_DATA, "event_type is not UTF-8");
    event.event_type = "P";
    event.content_type = "";
    assert_refused(POSTHORN_E_DATA, "content_type must not be empty");
    event.content_type = NULL;
    static const char *const ids[] = {"", "1", "6ba7b810-9dad-11d1-80b4-00c04fd430c",
                                      "6ba7b810-9dad-11d1-80b4-00c04fd430c80",
                                      "6ba7b810-9dad-11d1-80b4-00c04fd430cg"};
    for (size_t i = 0; i < COUNT(ids); i++) {
        event.id = ids[i];
        assert_refused(POSTHORN_E_DATA, "id is not a UUID");
    }
    event.id = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
    published();
    assert_string_equal(id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_int_equal(
        count("event_id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8' AND length(aggregate_type) = 8192 "
              "AND aggregate_id = 'it''s \"1\"\\; DROP TABLE posthorn_outbox'"),
        1);
}

static void headers(void **state)
{
    (void)state;
    static char huge[POSTHORN_HEADERS_MAX - 15];
    static struct posthorn_header many[POSTHORN_HEADER_MAX + 1];
    struct posthorn_header h[2] = {{"a", "1"}, {"", "2"}};
    run("BEGIN");
    event.headers = h;
    event.header_count = 2;
    assert_refused(POSTHORN_E_DATA, "headers[1]: the name must not be empty");
    h[1].name = "a";
    assert_refused(POSTHORN_E_DATA, "headers[1] has the name of headers[0]");
    h[1] = (struct posthorn_header){"b", NULL};
    assert_refused(POSTHORN_E_DATA, "headers[1]: the value must not be NULL");
    h[1].value = "\xFF";
    assert_refused(POSTHORN_E_DATA, "headers[1] is not UTF-8");
    memset(huge, '\n', sizeof huge - 1);
    h[1].value = huge;
    assert_refused(POSTHORN_E_DATA, "as JSON");
    event.headers = many;
    event.header_count = COUNT(many);
    assert_refused(POSTHORN_E_DATA, "more than 256 headers");
    h[1] = (struct posthorn_header){"q\"'", "\\ \n\x01 \xC3\xA9"};
    event.headers = h;
    event.header_count = 2;
    published();
    assert_int_equal(
        count("json_extract(headers, '$.a') = '1' AND headers LIKE '%\\u0001 \xC3\xA9\"}'"), 1);
}

/* --- payload -----------------------------------------------------------------------------------
 */

static void json_payload(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {{"", 0},
               {"{", 1},
               {"{}x", 3},
               {"\0", 1},
               {"\"\\u0000\"", 8},
               {"\"\xFF\"", 3},
               {"\"\\ud800\"", 8},
               {"\"\\udc00\\ud800\"", 14},
               {"\"a\0b\"", 5},
               {"[NaN]", 5},
               {"\"\\uD800x\"", 9},
               {"{\"\\u0000\":1}", 12}};
    run("BEGIN");
    for (size_t i = 0; i < COUNT(bad); i++) {
        event.payload = bad[i].text;
        event.payload_bytes = bad[i].len;
        assert_refused(POSTHORN_E_DATA, "payload");
    }
    event.payload = "[\"\\ud83d\\ude00\\\\u0000\", 1.50]";
    event.payload_bytes = strlen(event.payload);
    published();
    assert_int_equal(
        count("payload = '[\"\\ud83d\\ude00\\\\u0000\", 1.50]' AND payload_bytes IS NULL"), 1);
}

static void any_bytes(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0, 0xFF, '\'', 0, '"'};
    run("BEGIN");
    event.content_type = "application/x";
    event.payload = bytes;
    event.payload_bytes = sizeof bytes;
    published();
    assert_int_equal(
        count(
            "payload IS NULL AND payload_bytes = x'00ff270022' AND content_type = 'application/x'"),
        1);
    event.payload_bytes = 0;
    published();
    assert_int_equal(count("payload_bytes = x'' AND typeof(payload_bytes) = 'blob'"), 1);
    event.payload = NULL;
    published();
    assert_int_equal(count("payload IS NULL AND payload_bytes IS NULL"), 1);
}

static void large_payload(void **state)
{
    (void)state;
    char *bytes = calloc(1, POSTHORN_PAYLOAD_MAX + 1);
    assert_non_null(bytes);
    run("BEGIN");
    event.content_type = "application/x";
    event.payload = bytes;
    event.payload_bytes = POSTHORN_PAYLOAD_MAX + 1;
    assert_refused(POSTHORN_E_DATA, "longer than 16777216 bytes");
    event.payload_bytes--;
    published();
    assert_int_equal(count("length(payload_bytes) = 16777216"), 1);
    free(bytes);
}

/* --- batches -----------------------------------------------------------------------------------
 */

static void a_batch_keeps_its_order(void **state)
{
    (void)state;
    static struct posthorn_event events[POSTHORN_BATCH_MAX];
    static char keys[POSTHORN_BATCH_MAX][8], ids[POSTHORN_BATCH_MAX][POSTHORN_ID_SIZE];
    for (size_t i = 0; i < COUNT(events); i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%zu", i + 1);
        events[i] = event;
        events[i].aggregate_id = keys[i];
    }
    run("BEGIN");
    assert_int_equal(posthorn_publish_batch_sqlite(db, events, COUNT(events), ids, &error), 0);
    assert_int_equal(count("position = CAST(aggregate_id AS integer)"), POSTHORN_BATCH_MAX);
    char where[128];
    (void)snprintf(where, sizeof where, "event_id = '%s' AND aggregate_id = '777'", ids[776]);
    assert_int_equal(count(where), 1);
}

static void a_batch_is_whole_or_nothing(void **state)
{
    (void)state;
    struct posthorn_event events[3] = {event, event, event};
    run("CREATE TRIGGER t BEFORE INSERT ON posthorn_outbox WHEN new.event_type = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END; BEGIN; CREATE TABLE mine (x)");
    events[2].event_type = "bad";
    assert_int_equal(posthorn_publish_batch_sqlite(db, events, 3, NULL, &error), POSTHORN_E_DATA);
    assert_int_equal(count("true"), 0);
    assert_false(sqlite3_get_autocommit(db));
    events[2].event_type = "";
    assert_int_equal(posthorn_publish_batch_sqlite(db, events, 3, NULL, &error), POSTHORN_E_DATA);
    assert_string_equal(error.text, "event 2: event_type must not be empty");
    events[2].event_type = "good";
    assert_int_equal(posthorn_publish_batch_sqlite(db, events, 3, NULL, &error), 0);
    run("COMMIT; DROP TABLE mine");
    assert_int_equal(count("true"), 3);
}

/* --- the database ------------------------------------------------------------------------------
 */

static void no_outbox(void **state)
{
    (void)state;
    sqlite3 *empty;
    assert_int_equal(sqlite3_open(":memory:", &empty), SQLITE_OK);
    assert_int_equal(sqlite3_exec(empty, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(posthorn_publish_sqlite(empty, &event, NULL, &error), POSTHORN_E_SCHEMA);
    assert_non_null(strstr(error.text, "posthorn init"));
    assert_int_equal(sqlite3_close(empty), SQLITE_OK);
}

static void full_database(void **state)
{
    (void)state;
    char *bytes = calloc(1, 1024 * 1024);
    run("PRAGMA max_page_count = 40; BEGIN");
    event.content_type = "application/x";
    event.payload = bytes;
    event.payload_bytes = 1024 * 1024;
    assert_int_equal(posthorn_publish_sqlite(db, &event, NULL, &error), POSTHORN_E_UNAVAILABLE);
    assert_non_null(strstr(error.text, "full"));
    free(bytes);
}

static void out_of_memory(void **state)
{
    struct posthorn_event events[2] = {event, event};
    run("BEGIN");
    for (long ok = 0; ok < 2; ok++) {
        (void)unit_memory_watch(state);
        unit_memory_fail_after(ok);
        assert_int_equal(posthorn_publish_batch_sqlite(db, events, 2, NULL, &error),
                         POSTHORN_E_UNAVAILABLE);
        assert_int_equal(unit_memory_restore(state), 0);
    }
    assert_int_equal(count("true"), 0);
}

static void constants(void **state)
{
    (void)state;
    assert_string_equal(posthorn_version(), POSTHORN_VERSION);
    assert_string_equal(posthorn_version(), PH_VERSION);
    assert_string_equal(posthorn_status_name(0), "OK");
    assert_string_equal(posthorn_status_name(POSTHORN_E_INTERNAL), "INTERNAL");
    assert_string_equal(posthorn_status_name(1), "UNKNOWN");
    assert_string_equal(posthorn_status_name(POSTHORN_E_INTERNAL - 1), "UNKNOWN");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(needs_a_transaction),
        TEST(arguments),
        TEST(names),
        TEST(headers),
        TEST(json_payload),
        TEST(any_bytes),
        TEST(large_payload),
        TEST(no_outbox),
        TEST(a_batch_keeps_its_order),
        TEST(full_database),
        TEST(out_of_memory),
        TEST(a_batch_is_whole_or_nothing),
        TEST(constants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
