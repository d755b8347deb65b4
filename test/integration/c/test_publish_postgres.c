/*
 * The library on PostgreSQL. PH_TEST_PG: a connection string of an empty database with the schema
 * and roles; each test begins with an empty outbox.
 */
#include "../../unit/unit.h"

#include <libpq-fe.h>
#include <posthorn/postgres.h>

static PGconn *conn, *other;
static struct posthorn_event event;
static struct posthorn_error error;
static char id[POSTHORN_ID_SIZE];

static void run_on(PGconn *c, const char *sql)
{
    PGresult *result = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(c));
    }
}

static void run(const char *sql)
{
    run_on(conn, sql);
}

static void assert_value(const char *sql, const char *expected)
{
    PGresult *result = PQexec(conn, sql);
    char *value = PQntuples(result) == 1 ? strdup(PQgetvalue(result, 0, 0)) : NULL;
    PQclear(result);
    assert_non_null(value);
    assert_string_equal(value, expected);
    free(value);
}

static int start(void **state)
{
    (void)state;
    conn = PQconnectdb(getenv("PH_TEST_PG"));
    other = PQconnectdb(getenv("PH_TEST_PG"));
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    assert_int_equal(PQstatus(other), CONNECTION_OK);
    run("TRUNCATE posthorn.outbox");
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
    PQfinish(conn);
    PQfinish(other);
    return 0;
}

static void published(void)
{
    if (posthorn_publish_postgres(conn, &event, id, &error) != 0) {
        fail_msg("%s", error.text);
    }
}

static void assert_refused(int status, const char *words)
{
    assert_int_equal(posthorn_publish_postgres(conn, &event, id, &error), status);
    if (!strstr(error.text, words)) {
        fail_msg("\"%s\" is not in \"%s\"", words, error.text);
    }
}

/* --- the caller's transaction ------------------------------------------------------------------
 */

static void commits_and_rolls_back_with_the_caller(void **state)
{
    (void)state;
    run("BEGIN");
    published();
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_INTRANS);
    run("ROLLBACK");
    assert_value("SELECT count(*) FROM posthorn.outbox", "0");
    run("BEGIN");
    published();
    run("COMMIT");
    assert_value("SELECT event_id FROM posthorn.outbox", id);
}

static void states_of_the_connection(void **state)
{
    (void)state;
    assert_refused(POSTHORN_E_USAGE, "no transaction is open");
    assert_value("SELECT count(*) FROM posthorn.outbox", "0");
    run("BEGIN");
    PQclear(PQexec(conn, "SELECT 1/0"));
    assert_refused(POSTHORN_E_USAGE, "failed already");
    run("ROLLBACK; BEGIN");
    assert_int_equal(PQsendQuery(conn, "SELECT 1"), 1);
    assert_refused(POSTHORN_E_USAGE, "another command is under way");
    PGresult *result;
    while ((result = PQgetResult(conn))) {
        assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK); /* it is still there */
        PQclear(result);
    }
    run("SET client_encoding = 'LATIN1'");
    assert_refused(POSTHORN_E_USAGE, "client_encoding is LATIN1");
    run("SET client_encoding = 'SQL_ASCII'");
    published();
    assert_int_equal(PQenterPipelineMode(conn), 1);
    assert_refused(POSTHORN_E_USAGE, "pipeline mode");
    assert_int_equal(posthorn_publish_postgres(NULL, &event, id, &error), POSTHORN_E_USAGE);
}

static void a_lost_connection_is_to_be_retried(void **state)
{
    (void)state;
    char sql[64];
    run("BEGIN");
    (void)snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d, 5000)", PQbackendPID(conn));
    run_on(other, sql);
    assert_refused(POSTHORN_E_UNAVAILABLE, "PostgreSQL: ");
    assert_refused(POSTHORN_E_UNAVAILABLE, "lost");
}

static void schema_and_rights(void **state)
{
    (void)state;
    run("BEGIN; SET LOCAL ROLE posthorn_writer");
    event.flags = POSTHORN_STRICT;
    published();
    run("ROLLBACK; BEGIN; SET LOCAL ROLE pg_read_all_stats");
    assert_refused(POSTHORN_E_SCHEMA, "posthorn_writer");
    run("ROLLBACK; BEGIN READ ONLY");
    assert_refused(POSTHORN_E_UNAVAILABLE, "read-only");
    run("ROLLBACK; BEGIN; ALTER TABLE posthorn.outbox RENAME COLUMN headers TO heads");
    assert_refused(POSTHORN_E_SCHEMA, "posthorn init");
    run("ROLLBACK; BEGIN; ALTER SCHEMA posthorn RENAME TO away");
    assert_refused(POSTHORN_E_SCHEMA, "posthorn init");
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_INERROR);
    run("ROLLBACK");
}

/* --- what is stored ----------------------------------------------------------------------------
 */

static void hostile_texts(void **state)
{
    (void)state;
    struct posthorn_header headers[] = {{"q\"'{}", "\\ ,NULL\n\x01 \xC3\xA9"}, {"e", ""}};
    event.aggregate_type = "{\"a\",NULL}";
    event.aggregate_id = "NULL";
    event.event_type = "'; DROP TABLE posthorn.outbox; --\\\xF0\x9F\x93\xAF";
    event.headers = headers;
    event.header_count = 2;
    event.payload = "{\"a\": \"\\ud83d\\ude00 '\\\\\"}";
    event.payload_bytes = strlen(event.payload);
    event.id = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
    run("BEGIN");
    published();
    assert_string_equal(id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_value(
        "SELECT count(*) FROM posthorn.outbox WHERE aggregate_type = '{\"a\",NULL}' AND "
        "aggregate_id = 'NULL' "
        "AND event_type = E'\\'; DROP TABLE posthorn.outbox; --\\\\\U0001F4EF' "
        "AND headers = jsonb_build_object('q\"''{}', E'\\\\ ,NULL\\n\\x01 \u00E9', 'e', '') "
        "AND payload->>'a' = E'\U0001F600 ''\\\\' AND event_id = "
        "'6ba7b810-9dad-11d1-80b4-00c04fd430c8' "
        "AND payload_bytes IS NULL AND content_type IS NULL",
        "1");
}

static void any_bytes_and_tombstones(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0, 0xFF, '\'', 0, '\\'};
    event.content_type = "application/x";
    event.payload = bytes;
    event.payload_bytes = sizeof bytes;
    run("BEGIN");
    published();
    event.payload_bytes = 0;
    published();
    event.payload = NULL;
    event.content_type = NULL;
    published();
    assert_value(
        "SELECT string_agg(coalesce(payload_bytes::text, 'none') || coalesce(content_type, '-') || "
        "(payload IS NULL), ' ' ORDER BY position) FROM posthorn.outbox",
        "\\x00ff27005capplication/xtrue \\xapplication/xtrue none-true");
}

static void large_payloads(void **state)
{
    (void)state;
    char *bytes = malloc(POSTHORN_PAYLOAD_MAX);
    assert_non_null(bytes);
    memset(bytes, 'x', POSTHORN_PAYLOAD_MAX);
    event.payload = bytes;
    event.payload_bytes = POSTHORN_PAYLOAD_MAX;
    event.content_type = "text/plain";
    run("BEGIN");
    published();
    event.content_type = NULL;
    bytes[0] = bytes[POSTHORN_PAYLOAD_MAX - 1] = '"';
    published();
    assert_value(
        "SELECT sum(length(payload #>> '{}')) + sum(length(payload_bytes)) FROM posthorn.outbox",
        "33554430");
    free(bytes);
}

static void what_only_the_server_refuses(void **state)
{
    (void)state;
    event.payload = "1e999999";
    event.payload_bytes = 8;
    run("BEGIN");
    assert_refused(POSTHORN_E_DATA, "SQLSTATE 22");
    assert_null(strstr(error.text, "1e999999"));
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_INERROR);
}

/* --- batches and locks -------------------------------------------------------------------------
 */

static void a_batch_keeps_its_order(void **state)
{
    (void)state;
    static struct posthorn_event events[POSTHORN_BATCH_MAX];
    static char keys[POSTHORN_BATCH_MAX][8], ids[POSTHORN_BATCH_MAX][POSTHORN_ID_SIZE];
    for (size_t i = 0; i < COUNT(events); i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%zu", i);
        events[i] = event;
        events[i].aggregate_id = keys[i];
        events[i].flags = i % 2 ? POSTHORN_STRICT : 0;
    }
    run("BEGIN");
    assert_int_equal(posthorn_publish_batch_postgres(conn, events, COUNT(events), ids, &error), 0);
    assert_value("SELECT count(*) FROM (SELECT aggregate_id::int - row_number() OVER (ORDER BY "
                 "position) AS d "
                 "FROM posthorn.outbox) x WHERE d = -1",
                 "10000");
    char sql[128];
    (void)snprintf(sql, sizeof sql,
                   "SELECT aggregate_id FROM posthorn.outbox WHERE event_id = '%s'", ids[777]);
    assert_value(sql, "777");
    assert_int_equal(posthorn_publish_batch_postgres(conn, NULL, 0, NULL, &error), 0);
}

/* strict is the lock of posthorn.publish(..., strict => true), and only that. */
static void strict_waits_for_the_key(void **state)
{
    (void)state;
    run_on(other, "BEGIN; SELECT posthorn.publish('order', '1', 'x', '{}', strict => true)");
    run("BEGIN; SET LOCAL lock_timeout = 100");
    published();
    event.flags = POSTHORN_STRICT;
    event.aggregate_id = "2";
    published();
    event.aggregate_id = "1";
    assert_refused(POSTHORN_E_UNAVAILABLE, "lock timeout");
    run_on(other, "COMMIT");
    run("ROLLBACK; BEGIN");
    published();
    run("COMMIT");
    assert_value("SELECT count(*) FROM posthorn.outbox", "2");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commits_and_rolls_back_with_the_caller),
        TEST(states_of_the_connection),
        TEST(a_lost_connection_is_to_be_retried),
        TEST(schema_and_rights),
        TEST(hostile_texts),
        TEST(any_bytes_and_tombstones),
        TEST(large_payloads),
        TEST(what_only_the_server_refuses),
        TEST(a_batch_keeps_its_order),
        TEST(strict_waits_for_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
