/*
 * posthorn cleanup DB-URI: clears what is settled and older than the retention, as a running relay
 * does by itself, and says of each part of the log what went, what stayed and why.
 * Place: a row of ph_commands over the outbox driver's cleanup.
 * Promise: an event that a pipeline has not settled stays; with --dry-run nothing changes.
 */
#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"

struct answer {
    struct ph_buf out;
    bool json, dry_run;
    size_t parts, empty, gone;
    int64_t events_gone;
};

static void put_json_part(struct ph_buf *out, const struct ph_outbox_part *part, bool first)
{
    ph_buf_puts(out, first ? "{" : ",{");
    ph_json_put_name(out, "name");
    ph_json_put_string(out, ph_str_from(part->name));
    ph_json_put_name(out, "action");
    ph_json_put_string(out, ph_str_from(part->action));
    ph_json_put_name(out, "reason");
    ph_json_put_string(out, ph_str_from(part->reason));
    ph_json_put_name(out, "events");
    if (part->events < 0) {
        ph_buf_puts(out, "null}");
    } else {
        ph_buf_printf(out, "%lld}", (long long)part->events);
    }
}

static void put_person_part(struct ph_buf *out, const struct ph_outbox_part *part)
{
    ph_buf_printf(out, "%-18s  ", part->name);
    if (part->events < 0) {
        ph_buf_printf(out, "%10s", "-");
    } else {
        ph_buf_printf(out, "%10lld", (long long)part->events);
    }
    ph_buf_printf(out, "  %-8s  %s\n", part->action, part->reason);
}

static int put_part(void *arg, const struct ph_outbox_part *part)
{
    struct answer *answer = arg;
    bool empty = strcmp(part->action, "empty") == 0;
    if (answer->json) {
        put_json_part(&answer->out, part, answer->parts == 0);
    } else if (!empty) {
        put_person_part(&answer->out, part);
    }
    answer->parts++;
    answer->empty += empty;
    if (strncmp(part->action, "clear", 5) == 0) {
        answer->gone++;
        answer->events_gone += part->events > 0 ? part->events : 0;
    }
    return 0;
}

static void put_end(struct answer *answer)
{
    if (answer->json) {
        ph_buf_puts(&answer->out, "]}\n");
        return;
    }
    ph_buf_printf(&answer->out, "%s %zu of %zu parts, %zu were empty\n",
                  answer->dry_run ? "would clear" : "cleared", answer->gone, answer->parts,
                  answer->empty);
}

static int read_retention(const struct ph_cli *cli, int64_t *ret, struct ph_error *err)
{
    const char *text = ph_cli_get(cli, "retention");
    if (text && !ph_str_duration_ms(ph_str_from(text), ret)) {
        return ph_fail(err, PH_E_USAGE, "--retention %s: write it as 7d, 12h, 30m or 10s", text);
    }
    return 0;
}

static int clean(const struct ph_cli *cli, struct answer *answer, struct ph_error *err)
{
    int64_t retention_ms = -1;
    int rc = read_retention(cli, &retention_ms, err);
    if (rc < 0) {
        return rc;
    }
    struct ph_database db;
    rc = ph_database_open(&db, cli->operands[0], "cleanup", err);
    if (rc == 0) {
        rc = db.driver->cleanup(db.ctx, retention_ms, answer->dry_run, put_part, answer, err);
    }
    ph_database_close(&db);
    return rc;
}

static int cleanup_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct answer answer = {.json = ph_cli_get(cli, "json") != NULL,
                            .dry_run = ph_cli_get(cli, "dry-run") != NULL};
    ph_buf_init(&answer.out, PH_CLI_PAGE_MAX);
    if (answer.json) {
        ph_buf_printf(&answer.out, "{\"dryRun\":%s,\"parts\":[", answer.dry_run ? "true" : "false");
    } else {
        ph_buf_printf(&answer.out, "%-18s  %10s  %-8s  %s\n", "part", "rows", "action", "why");
    }
    int rc = clean(cli, &answer, &err);
    put_end(&answer);
    int status;
    if (rc == PH_E_USAGE) {
        (void)fprintf(stderr, "posthorn: cleanup: %s (see posthorn help cleanup)\n", err.text);
        status = PH_EXIT_USAGE;
    } else {
        status = rc < 0 ? ph_cli_fail(&err) : ph_cli_print(&answer.out);
    }
    ph_buf_free(&answer.out);
    return status;
}

static const struct ph_cli_option cleanup_options[] = {
    {"retention", "D", "Keeps events this long (the retention in force), such as 7d.", false},
    {"dry-run", NULL, "Says what would go, and changes nothing.", false},
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_cleanup = {
    .name = "cleanup",
    .summary = "Clears settled events past the retention.",
    .usage = "cleanup DB-URI [--retention D] [--dry-run] [--json]",
    .operands = {"DB-URI"},
    .operands_needed = 1,
    .options = cleanup_options,
    .details =
        "A running relay does this by itself once a minute. An event goes when every pipeline has\n"
        "settled it and it is older than the retention in force, the longest source.retention of\n"
        "all pipelines that the log knows; --retention is for this one time. Of each part of the\n"
        "log it says how many rows it had, and cleared, kept (and what holds it back), busy (in\n"
        "use at the moment; try again) or empty; with --dry-run clear instead of cleared.\n"
        "--json gives {\"dryRun\",\"parts\":[{\"name\",\"action\",\"reason\",\"events\"}]}.",
    .run = cleanup_run,
};
