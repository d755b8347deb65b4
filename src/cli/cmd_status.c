/*
 * posthorn status DB-URI: how far each pipeline is, who owns it and what went wrong last.
 * Place: a row of ph_commands over the outbox driver's status.
 * Promise: reads only, and stays cheap however many settled events the log holds.
 */
#include <stdlib.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"

#define STALLED_AFTER_MS ((int64_t)60 * 60 * 1000)

/* --- JSON --------------------------------------------------------------------------------------
 */

static void put_json_row(struct ph_buf *out, const struct ph_outbox_status *row, bool first,
                         bool stalled)
{
    ph_buf_puts(out, first ? "{" : ",{");
    ph_cli_json_text(out, "name", row->pipeline);
    ph_cli_json_raw(out, "shard", row->shard);
    ph_json_put_name(out, "position");
    if (row->tick) {
        ph_buf_printf(out, "\"%s-%s\"", row->tick, row->position);
    } else {
        ph_buf_puts(out, "null");
    }
    ph_cli_json_raw(out, "lagEvents", row->lag_events);
    ph_cli_json_raw(out, "lagEstimated", row->lag_estimated ? "true" : "false");
    ph_cli_json_raw(out, "lagSeconds", row->lag_seconds);
    ph_cli_json_text(out, "owner", row->owned ? row->owner : NULL);
    ph_cli_json_raw(out, "epoch", row->epoch);
    ph_cli_json_text(out, "expiresAt", row->expires_at);
    ph_cli_json_text(out, "lastError", row->last_error);
    ph_cli_json_text(out, "lastErrorAt", row->last_error_at);
    ph_cli_json_text(out, "updatedAt", row->updated_at);
    ph_cli_json_raw(out, "stalledSeconds", stalled ? row->still_seconds : NULL);
    ph_cli_json_raw(out, "parked", row->parked);
    ph_cli_json_raw(out, "dead", row->dead);
    ph_cli_json_raw(out, "scheduled", row->scheduled);
    ph_cli_json_text(out, "pausedAt", row->paused_at);
    ph_cli_json_text(out, "pausedBy", row->paused_by);
    ph_cli_json_text(out, "pausedReason", row->paused_reason);
    ph_buf_putc(out, '}');
}

/* --- for people --------------------------------------------------------------------------------
 */

static const char *known(const char *value)
{
    return value && *value ? value : "-";
}

static void put_owner(struct ph_buf *out, const struct ph_outbox_status *row)
{
    ph_buf_printf(out, "  %-12s", "owner");
    if (row->owned) {
        ph_cli_put_plain(out, ph_str_from(known(row->owner)));
        ph_buf_printf(out, ", epoch %s, lease until %s\n", known(row->epoch),
                      known(row->expires_at));
    } else {
        ph_buf_printf(out, "none, epoch %s\n", known(row->epoch));
    }
}

static bool any_beside(const struct ph_outbox_status *row)
{
    return row->parked && (strcmp(row->parked, "0") != 0 || strcmp(row->dead, "0") != 0 ||
                           strcmp(row->scheduled, "0") != 0);
}

static void put_beside(struct ph_buf *out, const struct ph_outbox_status *row)
{
    if (any_beside(row)) {
        ph_buf_printf(out, "  %-12s%s parked, %s dead, %s scheduled\n", "held back", row->parked,
                      row->dead, row->scheduled);
    }
    if (row->paused_at) {
        ph_buf_printf(out, "  %-12sat %s by ", "PAUSED", row->paused_at);
        ph_cli_put_plain(out, ph_str_from(known(row->paused_by)));
        if (row->paused_reason) {
            ph_buf_puts(out, ": ");
            ph_cli_put_plain(out, ph_str_from(row->paused_reason));
        }
        ph_buf_putc(out, '\n');
    }
}

static void put_position(struct ph_buf *out, const struct ph_outbox_status *row)
{
    if (!row->tick) {
        ph_cli_put_line(out, "position", "not begun");
        return;
    }
    ph_buf_printf(out, "  %-12s%s-%s\n", "position", row->tick, row->position);
    ph_buf_printf(out, "  %-12s%s%s event%s, %s s\n", "lag", row->lag_estimated ? "~" : "",
                  row->lag_events, strcmp(row->lag_events, "1") == 0 ? "" : "s", row->lag_seconds);
}

static void put_person_row(struct ph_buf *out, const struct ph_outbox_status *row, bool stalled)
{
    ph_cli_put_plain(out, ph_str_from(row->pipeline));
    if (strcmp(row->shard, "0") != 0) {
        ph_buf_printf(out, " shard %s", row->shard);
    }
    ph_buf_putc(out, '\n');
    put_position(out, row);
    if (stalled) {
        ph_buf_printf(out, "  %-12sfor %s s: it has events to deliver and does not move\n",
                      "STALLED", row->still_seconds);
    }
    put_beside(out, row);
    put_owner(out, row);
    if (row->last_error) {
        ph_buf_printf(out, "  %-12s", "last error");
        ph_cli_put_plain(out, ph_str_from(row->last_error));
        ph_buf_printf(out, " (%s)\n", known(row->last_error_at));
    } else {
        ph_cli_put_line(out, "last error", "none");
    }
    ph_cli_put_line(out, "updated", known(row->updated_at));
}

/* --- the command -------------------------------------------------------------------------------
 */

struct answer {
    struct ph_buf out;
    bool json;
    int64_t stalled_ms;
    size_t rows;
};

static bool is_stalled(const struct answer *answer, const struct ph_outbox_status *row)
{
    return row->still_seconds &&
           strtod(row->still_seconds, NULL) * 1000 >= (double)answer->stalled_ms;
}

static int put_row(void *arg, const struct ph_outbox_status *row)
{
    struct answer *answer = arg;
    bool stalled = is_stalled(answer, row);
    if (answer->json) {
        put_json_row(&answer->out, row, answer->rows == 0, stalled);
    } else {
        put_person_row(&answer->out, row, stalled);
    }
    answer->rows++;
    return 0;
}

static int read_status(const char *uri, struct answer *answer, struct ph_error *err)
{
    struct ph_database db;
    int rc = ph_database_open(&db, uri, "status", err);
    if (rc == 0) {
        rc = db.driver->status(db.ctx, NULL, put_row, answer, err);
    }
    ph_database_close(&db);
    return rc;
}

static int status_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct answer answer = {.json = ph_cli_get(cli, "json") != NULL,
                            .stalled_ms = STALLED_AFTER_MS};
    const char *after = ph_cli_get(cli, "stalled-after");
    if (after && !ph_str_duration_ms(ph_str_from(after), &answer.stalled_ms)) {
        (void)fprintf(stderr,
                      "posthorn: status: --stalled-after %s: write it as 1h, 30m or 10s (see "
                      "posthorn help status)\n",
                      after);
        return PH_EXIT_USAGE;
    }
    ph_buf_init(&answer.out, PH_CLI_PAGE_MAX * 64);
    ph_buf_puts(&answer.out, answer.json ? "{\"pipelines\":[" : "");
    int rc = read_status(cli->operands[0], &answer, &err);
    if (answer.json) {
        ph_buf_puts(&answer.out, "]}\n");
    } else if (answer.rows == 0) {
        ph_buf_puts(&answer.out, "no pipelines yet\n");
    }
    int status = rc < 0 ? ph_cli_fail(&err) : ph_cli_print(&answer.out);
    ph_buf_free(&answer.out);
    return status;
}

static const struct ph_cli_option status_options[] = {
    {"json", NULL, "Writes one JSON object instead of text.", false},
    {"stalled-after", "D", "Names pipelines that stand still for longer than this (1h).", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_status = {
    .name = "status",
    .summary = "Shows how far each pipeline is.",
    .usage = "status DB-URI [--json] [--stalled-after D]",
    .operands = {"DB-URI"},
    .operands_needed = 1,
    .options = status_options,
    .details =
        "The lag is exact up to 100,000 events, and beyond that an estimate, marked ~.\n"
        "--json gives "
        "{\"pipelines\":[{\"name\",\"shard\",\"position\",\"lagEvents\",\"lagEstimated\",\n"
        "\"lagSeconds\",\"owner\",\"epoch\",\"expiresAt\",\"lastError\",\"lastErrorAt\","
        "\"updatedAt\",\"stalledSeconds\",\"parked\",\"dead\",\"scheduled\",\"pausedAt\",\n"
        "\"pausedBy\",\"pausedReason\"}]};\n"
        "null is what is not known, and the owner once its lease has run out. A pipeline that has\n"
        "events to deliver and has not settled one for longer than --stalled-after is named\n"
        "STALLED; else stalledSeconds is null. Held back are events that failed, wait behind such\n"
        "ones or for their time (posthorn dead list); PAUSED, that a person paused it.",
    .run = status_run,
};
