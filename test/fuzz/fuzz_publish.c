/*
 * Fuzz target: an event as an application may give it, seven lines of texts and a payload,
 * published on SQLite. Nothing crashes; what is taken is stored byte by byte and readable as JSON;
 * what is refused leaves no row and quotes nothing; the transaction stays open.
 */
#include <posthorn/sqlite.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "sql_sqlite.h"

#define TEXTS 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static sqlite3 *outbox(void)
{
    static sqlite3 *db;
    if (!db) {
        must(sqlite3_open(":memory:", &db) == SQLITE_OK);
        must(sqlite3_exec(db, ph_sql_sqlite_m0001_init, NULL, NULL, NULL) == SQLITE_OK);
    }
    return db;
}

static struct ph_str column(sqlite3_stmt *stmt, int at)
{
    const char *bytes = sqlite3_column_blob(stmt, at);
    return (struct ph_str){bytes, (size_t)sqlite3_column_bytes(stmt, at)};
}

/* The rows there are, at most one; what it holds is what the event had. */
static int compare(sqlite3 *db, const struct posthorn_event *event, struct ph_str payload)
{
    sqlite3_stmt *stmt;
    int rows = 0;
    must(sqlite3_prepare_v2(db,
                            "SELECT aggregate_type, aggregate_id, event_type, headers, "
                            "coalesce(payload, payload_bytes) FROM posthorn_outbox",
                            -1, &stmt, NULL) == SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        rows++;
        must(ph_str_is(column(stmt, 0), event->aggregate_type));
        must(ph_str_is(column(stmt, 1), event->aggregate_id));
        must(ph_str_is(column(stmt, 2), event->event_type));
        must(ph_json_check(column(stmt, 3), NULL) == 0);
        must(ph_str_eq(column(stmt, 4), payload));
        must(event->content_type || ph_json_check(column(stmt, 4), NULL) == 0);
    }
    sqlite3_finalize(stmt);
    return rows;
}

static void publish(char *texts[TEXTS], struct ph_str payload, unsigned flags)
{
    struct posthorn_header header = {texts[5], texts[6]};
    struct posthorn_event event = {.aggregate_type = texts[0],
                                   .aggregate_id = texts[1],
                                   .event_type = texts[2],
                                   .content_type = flags & 1 ? texts[3] : NULL,
                                   .id = *texts[4] ? texts[4] : NULL,
                                   .headers = &header,
                                   .header_count = 1,
                                   .payload = payload.ptr,
                                   .payload_bytes = payload.len};
    struct posthorn_error error;
    sqlite3 *db = outbox();
    must(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK);
    int rc = posthorn_publish_sqlite(db, &event, NULL, &error);
    must(rc == POSTHORN_OK || rc == POSTHORN_E_DATA);
    must((rc == POSTHORN_OK) == (error.text[0] == '\0'));
    must(compare(db, &event, payload) == (rc == POSTHORN_OK));
    must(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *copy = calloc(1, size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    char *texts[TEXTS], *at = copy, *end = copy + size - 1;
    int found = 0;
    for (char *line = at; found < TEXTS && (line = memchr(at, '\n', (size_t)(end - at)));) {
        *line = '\0';
        texts[found++] = at;
        at = line + 1;
    }
    if (found == TEXTS) {
        publish(texts, (struct ph_str){at, (size_t)(end - at)}, data[0]);
    }
    free(copy);
    return 0;
}
