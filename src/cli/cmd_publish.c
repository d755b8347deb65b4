/*
 * posthorn publish: puts one event, or the lines of a file, into the outbox.
 * Place: a row of ph_commands; many events go through publisher.c.
 * Promise: what is printed as published is committed; a bad line is named by file and number and
 * nothing of its transaction is kept; a COMMIT without an answer is said to be one.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/lines.h"
#include "cli/publisher.h"

#define HEADERS_MAX ((size_t)256)

/* --- one event ---------------------------------------------------------------------------------
 */

static int read_file(const char *path, struct ph_buf *out, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_stdio) FILE *file = fopen(path, "rbe");
    if (!file) {
        return ph_fail(err, PH_E_IO, "--payload @%s: %s", path, strerrordesc_np(errno));
    }
    char chunk[16 * 1024];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && !out->failed) {
        ph_buf_put(out, chunk, n);
    }
    if (out->failed) {
        return ph_fail(err, PH_E_DATA, "--payload @%s: longer than %zu bytes", path,
                       PH_PUBLISH_LINE_MAX);
    }
    return ferror(file) ? ph_fail(err, PH_E_IO, "--payload @%s: cannot be read", path) : 0;
}

/* The payload lies in room; ptr NULL for a tombstone. */
static int read_payload(const struct ph_cli *cli, struct ph_buf *room, struct ph_str *ret,
                        struct ph_error *err)
{
    const char *text = ph_cli_get(cli, "payload");
    int rc = 0;
    if (text[0] == '@') {
        rc = read_file(text + 1, room, err);
    } else {
        ph_buf_puts(room, text);
    }
    if (rc < 0) {
        return rc;
    }
    rc = ph_json_check(ph_buf_str(room), err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "--payload");
        return rc;
    }
    const char *start = ph_buf_text(room) + strspn(ph_buf_text(room), " \t\r\n");
    *ret = strncmp(start, "null", 4) == 0 ? (struct ph_str){NULL, 0} : ph_buf_str(room);
    return 0;
}

static int put_header(struct ph_buf *out, const char *const *all, size_t at, struct ph_error *err)
{
    const char *text = all[at];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        return ph_fail(err, PH_E_USAGE, "--header %s: write it as NAME=VALUE", text);
    }
    size_t len = (size_t)(equals - text);
    if (!ph_str_utf8(ph_str_from(text))) {
        return ph_fail(err, PH_E_DATA, "--header: not UTF-8");
    }
    for (size_t i = 0; i < at; i++) {
        if (strncmp(all[i], text, len + 1) == 0) {
            return ph_fail(err, PH_E_USAGE, "--header %.*s was given twice", (int)len, text);
        }
    }
    ph_buf_putc(out, at == 0 ? '{' : ',');
    ph_json_put_string(out, (struct ph_str){text, len});
    ph_buf_putc(out, ':');
    ph_json_put_string(out, ph_str_from(equals + 1));
    return 0;
}

static int read_headers(const struct ph_cli *cli, struct ph_buf *out, struct ph_str *ret,
                        struct ph_error *err)
{
    const char *all[HEADERS_MAX];
    size_t count = ph_cli_all(cli, "header", all, HEADERS_MAX);
    for (size_t i = 0; i < count; i++) {
        int rc = put_header(out, all, i, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (count == 0) {
        return 0;
    }
    ph_buf_putc(out, '}');
    *ret = ph_buf_str(out);
    return ph_buf_check(out, "the headers", err);
}

static int publish_text(const struct ph_cli *cli, const char *name, struct ph_str *ret,
                        struct ph_error *err)
{
    int rc = ph_cli_need(cli, name, err);
    if (rc < 0) {
        return rc;
    }
    *ret = ph_str_from(ph_cli_get(cli, name));
    if (ret->len == 0) {
        return ph_fail(err, PH_E_USAGE, "--%s must not be empty", name);
    }
    return ph_str_utf8(*ret) ? 0 : ph_fail(err, PH_E_DATA, "--%s: not UTF-8", name);
}

static int insert_one(const struct ph_database *db, const struct ph_outbox_event *event,
                      struct ph_error *err)
{
    size_t bad;
    bool unknown = false;
    int rc = db->driver->begin(db->ctx, err);
    if (rc == 0) {
        rc = db->driver->insert(db->ctx, event, 1, &bad, err);
    }
    if (rc == 0) {
        rc = db->driver->commit(db->ctx, &unknown, err);
    }
    if (unknown) {
        (void)ph_fail_prefix(err, "the event may or may not be published, since no answer came");
    }
    return rc;
}

static int publish_event(const char *uri, struct ph_outbox_event event, struct ph_error *err)
{
    struct ph_uuid id;
    char text[PH_UUID_TEXT_LEN + 1];
    struct ph_database db;
    ph_uuid_random(&id);
    ph_uuid_format(&id, text);
    event.id = ph_str_from(text);
    int rc = ph_database_open(&db, uri, "publish", err);
    if (rc == 0) {
        rc = insert_one(&db, &event, err);
    }
    if (rc == 0 && (printf("%s\n", text) < 0 || fflush(stdout) != 0)) {
        rc = ph_fail(err, PH_E_IO, "published, but cannot write to stdout");
    }
    ph_database_close(&db);
    return rc;
}

static int publish_one(const struct ph_cli *cli, struct ph_error *err)
{
    struct ph_outbox_event event = {0};
    struct ph_buf payload, headers;
    ph_buf_init(&payload, PH_PUBLISH_LINE_MAX);
    ph_buf_init(&headers, PH_PUBLISH_LINE_MAX);
    int rc = publish_text(cli, "aggregate-type", &event.aggregate_type, err);
    if (rc == 0) {
        rc = publish_text(cli, "aggregate-id", &event.aggregate_id, err);
    }
    if (rc == 0) {
        rc = publish_text(cli, "event-type", &event.event_type, err);
    }
    if (rc == 0) {
        rc = ph_cli_need(cli, "payload", err);
    }
    if (rc == 0) {
        rc = read_payload(cli, &payload, &event.payload, err);
    }
    if (rc == 0) {
        rc = read_headers(cli, &headers, &event.headers, err);
    }
    if (rc == 0) {
        rc = publish_event(cli->operands[0], event, err);
    }
    ph_buf_free(&payload);
    ph_buf_free(&headers);
    return rc;
}

/* --- many --------------------------------------------------------------------------------------
 */

static bool is_blank(struct ph_str line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (!strchr(" \t\r", line.ptr[i]) || line.ptr[i] == '\0') {
            return false;
        }
    }
    return true;
}

static int publish_lines(struct ph_publisher *publisher, struct ph_lines *lines,
                         struct ph_error *err)
{
    struct ph_str line;
    int more;
    while ((more = ph_lines_next(lines, &line, err)) == 1) {
        if (lines->number == 1 && ph_str_starts(line, PH_STR("\xef\xbb\xbf"))) {
            line = (struct ph_str){line.ptr + 3, line.len - 3};
        }
        if (is_blank(line)) {
            continue;
        }
        int rc = ph_publisher_add(publisher, line, lines->number, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (more < 0) {
        publisher->bad_line = lines->number;
        return more;
    }
    return ph_publisher_finish(publisher, err);
}

/* Names the place of the fault and says what was kept. */
static void explain(const struct ph_publisher *publisher, const char *name, struct ph_error *err)
{
    struct ph_error cause = *err;
    struct ph_buf text;
    ph_buf_init(&text, PH_CLI_PAGE_MAX);
    if (publisher->bad_line > 0) {
        ph_buf_printf(&text, "%s:%lld: ", name, (long long)publisher->bad_line);
    }
    ph_buf_puts(&text, cause.text);
    if (publisher->unknown_outcome) {
        ph_buf_printf(&text,
                      "\nno answer came to the last COMMIT: its %zu events may or may not be "
                      "published",
                      publisher->transaction_events);
    }
    ph_buf_printf(&text, "\n%lld events in %lld transactions before it were committed",
                  (long long)publisher->events_committed,
                  (long long)publisher->transactions_committed);
    (void)ph_fail(err, cause.code, "%s", ph_buf_text(&text));
    ph_buf_free(&text);
}

static int publish_stream(const struct ph_database *db, int fd, const char *name,
                          struct ph_error *err)
{
    static struct ph_publisher publisher;
    struct ph_lines lines;
    ph_publisher_init(&publisher, db);
    ph_lines_init(&lines, fd, PH_PUBLISH_LINE_MAX);
    int rc = publish_lines(&publisher, &lines, err);
    if (rc < 0) {
        explain(&publisher, name, err);
    } else {
        (void)printf("published %lld events in %lld transactions\n",
                     (long long)publisher.events_committed,
                     (long long)publisher.transactions_committed);
    }
    ph_lines_free(&lines);
    ph_publisher_free(&publisher);
    return rc;
}

static int publish_file(const struct ph_cli *cli, struct ph_error *err)
{
    const char *path = ph_cli_get(cli, "ndjson");
    bool from_stdin = strcmp(path, "-") == 0;
    PH_CLEANUP(ph_cleanup_fd) int fd = from_stdin ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ph_fail(err, PH_E_IO, "%s: %s", path, strerrordesc_np(errno));
    }
    struct ph_database db;
    int rc = ph_database_open(&db, cli->operands[0], "publish", err);
    if (rc == 0) {
        rc = publish_stream(&db, fd, from_stdin ? "stdin" : path, err);
    }
    ph_database_close(&db);
    return rc;
}

/* --- the command -------------------------------------------------------------------------------
 */

static int check_mix(const struct ph_cli *cli, struct ph_error *err)
{
    static const char *const single[] = {"aggregate-type", "aggregate-id", "event-type", "payload",
                                         "header"};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (ph_cli_get(cli, single[i])) {
            return ph_fail(err, PH_E_USAGE, "--%s does not go with --ndjson", single[i]);
        }
    }
    return 0;
}

static int publish_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    int rc = 0;
    if (ph_cli_get(cli, "ndjson")) {
        rc = check_mix(cli, &err);
        if (rc == 0) {
            rc = publish_file(cli, &err);
        }
    } else {
        rc = publish_one(cli, &err);
    }
    if (rc == PH_E_USAGE) {
        (void)ph_fail_prefix(&err, "publish");
        (void)fprintf(stderr, "posthorn: %s (see posthorn help publish)\n", err.text);
        return PH_EXIT_USAGE;
    }
    return rc < 0 ? ph_cli_fail(&err) : PH_EXIT_OK;
}

static const struct ph_cli_option publish_options[] = {
    {"aggregate-type", "T", "What kind of thing the event is about, such as order.", false},
    {"aggregate-id", "I", "Which one; events of one id keep their order.", false},
    {"event-type", "E", "What happened, such as OrderPlaced.", false},
    {"payload", "JSON|@FILE", "The event itself; null is a tombstone.", false},
    {"header", "NAME=VALUE", "A header that goes along.", true},
    {"ndjson", "FILE|-", "Publishes every line of a file, or of stdin.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_publish = {
    .name = "publish",
    .summary = "Puts events into the outbox.",
    .usage =
        "publish DB-URI --aggregate-type T --aggregate-id I --event-type E --payload JSON|@FILE "
        "[--header NAME=VALUE]...\npublish DB-URI --ndjson FILE|-",
    .operands = {"DB-URI"},
    .operands_needed = 1,
    .options = publish_options,
    .details =
        "One event: prints its id. --ndjson: one JSON object a line with the fields\n"
        "aggregateType, aggregateId, eventType, payload and, if wanted, headers (an object of\n"
        "strings) and id (a UUID); \"payload\": null is a tombstone; empty lines are skipped.\n"
        "1,000 lines are one transaction. A bad line is named by its number, nothing of its\n"
        "transaction is kept, and the exit status is 65. A line may have up to 16 MiB.",
    .run = publish_run,
};
