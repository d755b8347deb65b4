/*
 * posthorn dead list|show|redrive|discard DB-URI: what left the flow, and what a person decides
 * about it.
 * Place: a row of ph_commands over the outbox driver's parked_list, redrive and discard.
 * Promise: without --all no act is for everything; every act is audited, a dry run changes nothing.
 * Headers and payload are shown by show alone, which a person asks for one event.
 */
#include <stdlib.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"
#include "cli/who.h"
#include "core/envelope.h"

#define LIST_DEFAULT 1000
#define LIST_MAX     100000

/* --- one row as JSON ---------------------------------------------------------------------------
 */

static void put_json_content(struct ph_buf *out, const struct ph_outbox_parked *row)
{
    ph_json_put_name(out, "headers");
    ph_buf_put_str(out, row->headers.ptr ? row->headers : PH_STR("{}"));
    ph_cli_json_text(out, "contentType", row->content_type);
    if (row->payload.ptr && !row->payload_json) {
        ph_json_put_name(out, "payloadBase64");
        ph_buf_putc(out, '"');
        ph_base64_put(out, row->payload);
        ph_buf_putc(out, '"');
    } else {
        ph_json_put_name(out, "payload");
        ph_buf_put_str(out, row->payload.ptr ? row->payload : PH_STR("null"));
    }
}

static void put_json_row(struct ph_buf *out, const struct ph_outbox_parked *row, bool content)
{
    ph_buf_putc(out, '{');
    ph_cli_json_text(out, "pipeline", row->pipeline);
    ph_cli_json_raw(out, "shard", row->shard);
    ph_cli_json_text(out, "state", row->state);
    ph_cli_json_raw(out, "attempts", row->attempts);
    ph_cli_json_raw(out, "passed", row->passed ? "true" : "false");
    ph_cli_json_raw(out, "waiting", row->waiting);
    ph_cli_json_text(out, "id", row->event_id);
    ph_buf_printf(out, ",\"position\":\"%s-%s\"", row->tick, row->position);
    ph_cli_json_text(out, "aggregateType", row->aggregate_type);
    ph_cli_json_text(out, "aggregateId", row->aggregate_id);
    ph_cli_json_text(out, "eventType", row->event_type);
    ph_cli_json_text(out, "createdAt", row->created_at);
    ph_cli_json_text(out, "key", row->key);
    ph_cli_json_text(out, "nextAttemptAt", row->next_attempt_at);
    ph_cli_json_text(out, "firstFailedAt", row->first_failed_at);
    ph_cli_json_text(out, "redrivenAt", row->redriven_at);
    ph_cli_json_text(out, "deliverAfter", row->deliver_after);
    ph_cli_json_text(out, "lastError", row->last_error);
    if (content) {
        put_json_content(out, row);
    }
    ph_buf_putc(out, '}');
}

/* --- one row for people ------------------------------------------------------------------------
 */

static void put_key(struct ph_buf *out, const struct ph_outbox_parked *row)
{
    if (!row->key) {
        ph_cli_put_line(out, "key", NULL);
        return;
    }
    ph_buf_printf(out, "  %-12s", "key");
    ph_cli_put_plain(out, ph_str_from(row->key));
    if (row->passed) {
        ph_buf_puts(out, ", which has gone on without it");
    } else if (row->waiting && strcmp(row->waiting, "0") != 0) {
        ph_buf_printf(out, ", %s event%s wait%s behind it", row->waiting,
                      strcmp(row->waiting, "1") == 0 ? "" : "s",
                      strcmp(row->waiting, "1") == 0 ? "s" : "");
    }
    ph_buf_putc(out, '\n');
}

static void put_attempts(struct ph_buf *out, const struct ph_outbox_parked *row)
{
    ph_buf_printf(out, "  %-12s%s, out of the flow since %s", "attempts", row->attempts,
                  row->first_failed_at);
    if (row->redriven_at) {
        ph_buf_printf(out, ", redriven at %s", row->redriven_at);
    }
    if (row->next_attempt_at) {
        ph_buf_printf(out, ", next at %s", row->next_attempt_at);
    }
    ph_buf_putc(out, '\n');
}

static void put_content(struct ph_buf *out, const struct ph_outbox_parked *row)
{
    ph_buf_printf(out, "  %-12s", "headers");
    ph_cli_put_plain(out, row->headers.ptr ? row->headers : PH_STR("{}"));
    ph_buf_printf(out, "\n  %-12s", "payload");
    if (!row->payload.ptr) {
        ph_buf_puts(out, "none (a tombstone)");
    } else if (row->payload_json) {
        ph_cli_put_plain(out, row->payload);
    } else {
        ph_buf_printf(out, "%zu bytes, base64 ", row->payload.len);
        ph_base64_put(out, row->payload);
        ph_buf_putc(out, '\n');
        ph_buf_printf(out, "  %-12s", "of type");
        ph_cli_put_plain(out, ph_str_from(row->content_type ? row->content_type : "-"));
    }
    ph_buf_putc(out, '\n');
}

static void put_person_row(struct ph_buf *out, const struct ph_outbox_parked *row, bool content)
{
    ph_buf_printf(out, "%s %s of ", row->event_id, row->state);
    ph_cli_put_plain(out, ph_str_from(row->pipeline));
    if (strcmp(row->shard, "0") != 0) {
        ph_buf_printf(out, " shard %s", row->shard);
    }
    ph_buf_printf(out, "\n  %-12s", "event");
    ph_cli_put_plain(out, ph_str_from(row->event_type));
    ph_buf_puts(out, " of ");
    ph_cli_put_plain(out, ph_str_from(row->aggregate_type));
    ph_buf_putc(out, ' ');
    ph_cli_put_plain(out, ph_str_from(row->aggregate_id));
    ph_buf_printf(out, ", position %s-%s, created %s\n", row->tick, row->position, row->created_at);
    put_key(out, row);
    put_attempts(out, row);
    if (row->deliver_after) {
        ph_cli_put_line(out, "not before", row->deliver_after);
    }
    if (row->last_error) {
        ph_cli_put_line(out, "error", row->last_error);
    }
    if (content) {
        put_content(out, row);
    }
}

/* --- list and show -----------------------------------------------------------------------------
 */

struct page {
    struct ph_buf out;
    const struct ph_outbox_filter *filter;
    int64_t rows, most;
    bool json;
};

static int put_row(void *arg, const struct ph_outbox_parked *row)
{
    struct page *page = arg;
    if (page->rows++ == page->most) { /* one more was asked for, to know that there is more */
        return 0;
    }
    if (page->json) {
        ph_buf_puts(&page->out, page->rows > 1 ? "," : "");
        put_json_row(&page->out, row, page->filter->content);
    } else {
        put_person_row(&page->out, row, page->filter->content);
    }
    return 0;
}

static void end_page(struct page *page)
{
    bool more = page->rows > page->most;
    if (page->json) {
        ph_buf_printf(&page->out, "],\"more\":%s}\n", more ? "true" : "false");
    } else if (page->rows == 0) {
        ph_buf_puts(&page->out, "no such events\n");
    } else if (more) {
        ph_buf_printf(&page->out, "and more: only the first %lld are shown (--limit)\n",
                      (long long)page->most);
    }
}

static int list_rows(const struct ph_cli *cli, struct ph_database *db,
                     struct ph_outbox_filter *filter, struct ph_error *err)
{
    struct page page = {
        .filter = filter, .most = filter->limit, .json = ph_cli_get(cli, "json") != NULL};
    filter->limit++;
    ph_buf_init(&page.out, PH_CLI_PAGE_MAX * 256);
    ph_buf_puts(&page.out, page.json ? "{\"events\":[" : "");
    int rc = db->driver->parked_list(db->ctx, filter, put_row, &page, err);
    if (rc == 0 && filter->content && page.rows == 0) {
        rc = ph_fail(err, PH_E_CONFIG,
                     "no event %s is parked, dead, scheduled or discarded (posthorn dead list "
                     "--state all names those that are)",
                     filter->event_id);
    }
    end_page(&page);
    int status = rc < 0 ? ph_cli_fail(err) : ph_cli_print(&page.out);
    ph_buf_free(&page.out);
    return status;
}

static int list(const struct ph_cli *cli, struct ph_database *db, struct ph_outbox_filter *filter,
                struct ph_error *err)
{
    const char *state = ph_cli_get(cli, "state");
    filter->state = !state ? "dead" : strcmp(state, "all") == 0 ? NULL : state;
    return list_rows(cli, db, filter, err);
}

static int show(const struct ph_cli *cli, struct ph_database *db, struct ph_outbox_filter *filter,
                struct ph_error *err)
{
    filter->content = true;
    return list_rows(cli, db, filter, err);
}

/* --- redrive and discard -----------------------------------------------------------------------
 */

static int say_count(const struct ph_cli *cli, const char *done, const char *planned,
                     int64_t events)
{
    struct ph_buf said;
    bool dry_run = ph_cli_get(cli, "dry-run") != NULL;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    if (ph_cli_get(cli, "json")) {
        ph_buf_printf(&said, "{\"events\":%lld,\"dryRun\":%s}\n", (long long)events,
                      dry_run ? "true" : "false");
    } else {
        ph_buf_printf(&said, "%s %lld event%s\n", dry_run ? planned : done, (long long)events,
                      events == 1 ? "" : "s");
    }
    int status = ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static int redrive(const struct ph_cli *cli, struct ph_database *db,
                   struct ph_outbox_filter *filter, struct ph_error *err)
{
    char who[PH_WHO_MAX];
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    const char *rate = ph_cli_get(cli, "rate");
    int64_t events = 0;
    int rc = db->driver->redrive(db->ctx, filter, rate ? strtod(rate, NULL) : 0,
                                 ph_cli_get(cli, "dry-run") != NULL, &act, &events, err);
    return rc < 0 ? ph_cli_fail(err) : say_count(cli, "redrove", "would redrive", events);
}

static int discard(const struct ph_cli *cli, struct ph_database *db,
                   struct ph_outbox_filter *filter, struct ph_error *err)
{
    char who[PH_WHO_MAX];
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int64_t events = 0;
    int rc = db->driver->discard(db->ctx, filter, ph_cli_get(cli, "dry-run") != NULL, &act, &events,
                                 err);
    return rc < 0 ? ph_cli_fail(err) : say_count(cli, "discarded", "would discard", events);
}

/* --- the command -------------------------------------------------------------------------------
 */

enum act_needs { NEEDS_ID = 1, NEEDS_FILTER = 2 };

static const struct act {
    const char *name;
    int (*run)(const struct ph_cli *cli, struct ph_database *db, struct ph_outbox_filter *filter,
               struct ph_error *err); /* the exit status */
    unsigned needs;                   /* enum act_needs */
    const char *own[5];               /* options of some acts only */
} acts[] = {
    {"list", list, 0, {"state", "limit"}},
    {"show", show, NEEDS_ID, {NULL}},
    {"redrive", redrive, NEEDS_FILTER, {"rate", "reason", "dry-run", "all"}},
    {"discard", discard, NEEDS_FILTER, {"reason", "dry-run", "all"}},
};

#define ACT_COUNT (sizeof acts / sizeof acts[0])

static bool has_own(const struct act *act, const char *option)
{
    for (size_t i = 0; i < sizeof act->own / sizeof act->own[0] && act->own[i]; i++) {
        if (strcmp(act->own[i], option) == 0) {
            return true;
        }
    }
    return false;
}

static int find_act(const struct ph_cli *cli, const struct act **ret, struct ph_error *err)
{
    static const char *const some[] = {"state", "limit", "rate", "reason", "dry-run", "all"};
    for (size_t i = 0; i < ACT_COUNT && !*ret; i++) {
        *ret = strcmp(acts[i].name, cli->operands[0]) == 0 ? &acts[i] : NULL;
    }
    if (!*ret) {
        return ph_fail(err, PH_E_USAGE, "\"%s\" is none of list, show, redrive and discard",
                       cli->operands[0]);
    }
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        if (ph_cli_get(cli, some[i]) && !has_own(*ret, some[i])) {
            return ph_fail(err, PH_E_USAGE, "--%s does not go with %s", some[i], (*ret)->name);
        }
    }
    return 0;
}

static int read_filter(const struct ph_cli *cli, struct ph_outbox_filter *filter,
                       struct ph_error *err)
{
    struct ph_uuid id;
    *filter = (struct ph_outbox_filter){
        .pipeline = ph_cli_get(cli, "pipeline"),
        .event_type = ph_cli_get(cli, "event-type"),
        .key = ph_cli_get(cli, "key"),
        .event_id = ph_cli_get(cli, "id"),
        .error_like = ph_cli_get(cli, "error-like"),
        .limit = LIST_DEFAULT,
    };
    if (filter->event_id && !ph_uuid_parse(ph_str_from(filter->event_id), &id)) {
        return ph_fail(err, PH_E_USAGE, "--id %s: write the id of an event, a UUID",
                       filter->event_id);
    }
    int rc = ph_cli_number(cli, "limit", 1, LIST_MAX, &filter->limit, err);
    return rc < 0 ? rc : ph_cli_time(cli, "since", &filter->since_us, err);
}

static bool is_one_of(const char *word, const char *const *names)
{
    while (*names && strcmp(*names, word) != 0) {
        names++;
    }
    return *names != NULL;
}

static int check_values(const struct ph_cli *cli, struct ph_error *err)
{
    static const char *const states[] = {"dead",    "parked", "scheduled", "discarded",
                                         "skipped", "all",    NULL};
    const char *state = ph_cli_get(cli, "state");
    const char *rate = ph_cli_get(cli, "rate");
    char *end = NULL;
    if (state && !is_one_of(state, states)) {
        return ph_fail(err, PH_E_USAGE,
                       "--state %s: must be dead, parked, scheduled, discarded, skipped or all",
                       state);
    }
    if (rate && !(strtod(rate, &end) >= 0.001 && strtod(rate, NULL) <= 1e6 && *end == '\0')) {
        return ph_fail(err, PH_E_USAGE,
                       "--rate %s: write how many events a second, from 0.001 to 1000000", rate);
    }
    return 0;
}

static int check_needs(const struct ph_cli *cli, const struct act *act,
                       const struct ph_outbox_filter *filter, struct ph_error *err)
{
    bool any = !filter->pipeline && !filter->event_type && !filter->key && !filter->event_id &&
               !filter->error_like && !filter->since_us;
    if (act->needs & NEEDS_ID && !filter->event_id) {
        return ph_fail(err, PH_E_USAGE, "%s: --id is missing", act->name);
    }
    if (act->needs & NEEDS_FILTER && any && !ph_cli_get(cli, "all")) {
        return ph_fail(err, PH_E_USAGE,
                       "%s: say which events (--pipeline, --event-type, --key, --since, "
                       "--error-like, --id), or --all",
                       act->name);
    }
    return 0;
}

static int dead_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct ph_outbox_filter filter;
    struct ph_database db;
    const struct act *act = NULL;
    int rc = find_act(cli, &act, &err);
    if (rc == 0) {
        rc = read_filter(cli, &filter, &err);
    }
    if (rc == 0) {
        rc = check_values(cli, &err);
    }
    if (rc == 0) {
        rc = check_needs(cli, act, &filter, &err);
    }
    if (rc < 0) {
        return ph_cli_misused(cli, &err);
    }
    rc = ph_database_open(&db, cli->operands[1], "dead", &err);
    if (rc == 0 && !db.driver->parked_list) {
        rc = ph_fail(&err, PH_E_CONFIG, "a log of kind %s keeps no failed events", db.driver->name);
    }
    int status = rc < 0 ? ph_cli_fail(&err) : act->run(cli, &db, &filter, &err);
    ph_database_close(&db);
    return status;
}

static const struct ph_cli_option dead_options[] = {
    {"pipeline", "P", "Only events of this pipeline.", false},
    {"event-type", "T", "Only events of this type.", false},
    {"key", "K", "Only events of this key.", false},
    {"since", "TIME", "Only events that left the flow at this time or later.", false},
    {"error-like", "TEXT", "Only events whose error is like this: % any text, _ any character.",
     false},
    {"id", "UUID", "Only the event of this id.", false},
    {"state", "dead|parked|scheduled|discarded|skipped|all", "list: which events (dead).", false},
    {"limit", "N", "list: so many events at most (1000).", false},
    {"rate", "N", "redrive: so many events a second.", false},
    {"reason", "TEXT", "redrive, discard: why, for the log's audit.", false},
    {"all", NULL, "redrive, discard: really all dead events.", false},
    {"dry-run", NULL, "redrive, discard: says how many it would be.", false},
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_dead = {
    .name = "dead",
    .summary = "Shows events that failed, tries them again, or gives them up.",
    .usage = "dead list DB-URI [--state STATE] [FILTER]... [--limit N] [--json]\n"
             "dead show DB-URI --id UUID [--pipeline P] [--json]\n"
             "dead redrive DB-URI FILTER...|--all [--rate N] [--reason TEXT] [--dry-run] [--json]\n"
             "dead discard DB-URI FILTER...|--all [--reason TEXT] [--dry-run] [--json]",
    .operands = {"list|show|redrive|discard", "DB-URI"},
    .operands_needed = 2,
    .options = dead_options,
    .details =
        "An event is dead when its sink refused it for good, or too often; parked when it waits\n"
        "for its next attempt or behind an earlier event of its key; scheduled when its time has\n"
        "not come. FILTER is --pipeline, --event-type, --key, --since, --error-like or --id; all\n"
        "that are given must hold.\n"
        "list: without headers and payloads. show: one event with both.\n"
        "redrive: dead events are tried again, in the order of their key; with --rate so many a\n"
        "second begin. discard: dead events are given up, and so is a parked one that stands in\n"
        "front of its key when --id names it; their rows stay as discarded, their keys go on.\n"
        "Both are audited in the log, and without a FILTER want --all.",
    .run = dead_run,
};
