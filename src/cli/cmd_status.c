/*
 * posthorn status DB-URI: how far each pipeline is, who owns it and what went wrong last.
 * Place: a row of ph_commands over sql/postgres/q_status.sql.
 * Promise: reads only, and stays cheap however many settled events the log holds.
 */
#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "sql_postgres.h"

/* The columns of q_status.sql. */
enum {
    NAME,
    SHARD,
    TICK,
    POSITION,
    LAG_EVENTS,
    LAG_ESTIMATED,
    LAG_SECONDS,
    OWNER,
    EPOCH,
    OWNED,
    EXPIRES_AT,
    LAST_ERROR,
    LAST_ERROR_AT,
    UPDATED_AT,
};

static bool is_true(const PGresult *res, int row, int column)
{
    const char *value = ph_pg_value(res, row, column);
    return value && *value == 't';
}

static const char *text_or(const PGresult *res, int row, int column, const char *fallback)
{
    const char *value = ph_pg_value(res, row, column);
    return value && *value ? value : fallback;
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static void put_raw(struct ph_buf *out, const char *name, const char *value)
{
    ph_json_put_name(out, name);
    ph_buf_puts(out, value ? value : "null");
}

static void put_text(struct ph_buf *out, const char *name, const char *value)
{
    ph_json_put_name(out, name);
    if (value) {
        ph_json_put_string(out, ph_str_from(value));
    } else {
        ph_buf_puts(out, "null");
    }
}

static void put_json_row(struct ph_buf *out, const PGresult *res, int row)
{
    bool begun = ph_pg_value(res, row, TICK) != NULL;
    ph_buf_puts(out, row == 0 ? "{" : ",{");
    put_text(out, "name", ph_pg_value(res, row, NAME));
    put_raw(out, "shard", ph_pg_value(res, row, SHARD));
    ph_json_put_name(out, "position");
    if (begun) {
        ph_buf_printf(out, "\"%s-%s\"", PQgetvalue(res, row, TICK), PQgetvalue(res, row, POSITION));
    } else {
        ph_buf_puts(out, "null");
    }
    put_raw(out, "lagEvents", begun ? ph_pg_value(res, row, LAG_EVENTS) : NULL);
    put_raw(out, "lagEstimated", is_true(res, row, LAG_ESTIMATED) ? "true" : "false");
    put_raw(out, "lagSeconds", begun ? ph_pg_value(res, row, LAG_SECONDS) : NULL);
    put_text(out, "owner", is_true(res, row, OWNED) ? ph_pg_value(res, row, OWNER) : NULL);
    put_raw(out, "epoch", ph_pg_value(res, row, EPOCH));
    put_text(out, "expiresAt", ph_pg_value(res, row, EXPIRES_AT));
    put_text(out, "lastError", ph_pg_value(res, row, LAST_ERROR));
    put_text(out, "lastErrorAt", ph_pg_value(res, row, LAST_ERROR_AT));
    put_text(out, "updatedAt", ph_pg_value(res, row, UPDATED_AT));
    ph_buf_putc(out, '}');
}

static void put_json(struct ph_buf *out, const PGresult *res)
{
    ph_buf_puts(out, "{\"pipelines\":[");
    for (int row = 0; row < PQntuples(res); row++) {
        put_json_row(out, res, row);
    }
    ph_buf_puts(out, "]}\n");
}

/* --- for people --------------------------------------------------------------------------------
 */

static void put_line(struct ph_buf *out, const char *label, const char *value)
{
    ph_buf_printf(out, "  %-12s%s\n", label, value);
}

static void put_lag(struct ph_buf *out, const PGresult *res, int row)
{
    const char *events = PQgetvalue(res, row, LAG_EVENTS);
    ph_buf_printf(out, "  %-12s%s%s event%s, %s s\n", "lag",
                  is_true(res, row, LAG_ESTIMATED) ? "~" : "", events,
                  strcmp(events, "1") == 0 ? "" : "s", PQgetvalue(res, row, LAG_SECONDS));
}

static void put_owner(struct ph_buf *out, const PGresult *res, int row)
{
    const char *epoch = text_or(res, row, EPOCH, "-");
    if (is_true(res, row, OWNED)) {
        ph_buf_printf(out, "  %-12s%s, epoch %s, lease until %s\n", "owner",
                      text_or(res, row, OWNER, "-"), epoch, text_or(res, row, EXPIRES_AT, "-"));
    } else {
        ph_buf_printf(out, "  %-12snone, epoch %s\n", "owner", epoch);
    }
}

static void put_person_row(struct ph_buf *out, const PGresult *res, int row)
{
    ph_buf_puts(out, PQgetvalue(res, row, NAME));
    if (strcmp(PQgetvalue(res, row, SHARD), "0") != 0) {
        ph_buf_printf(out, " shard %s", PQgetvalue(res, row, SHARD));
    }
    ph_buf_putc(out, '\n');
    if (ph_pg_value(res, row, TICK)) {
        ph_buf_printf(out, "  %-12s%s-%s\n", "position", PQgetvalue(res, row, TICK),
                      PQgetvalue(res, row, POSITION));
        put_lag(out, res, row);
    } else {
        put_line(out, "position", "not begun");
    }
    put_owner(out, res, row);
    if (ph_pg_value(res, row, LAST_ERROR)) {
        ph_buf_printf(out, "  %-12s%s (%s)\n", "last error", PQgetvalue(res, row, LAST_ERROR),
                      text_or(res, row, LAST_ERROR_AT, "-"));
    } else {
        put_line(out, "last error", "none");
    }
    put_line(out, "updated", text_or(res, row, UPDATED_AT, "-"));
}

static void put_person(struct ph_buf *out, const PGresult *res)
{
    if (PQntuples(res) == 0) {
        ph_buf_puts(out, "no pipelines yet\n");
    }
    for (int row = 0; row < PQntuples(res); row++) {
        put_person_row(out, res, row);
    }
}

/* --- the command -------------------------------------------------------------------------------
 */

static int read_status(const char *uri, PGresult **ret, struct ph_error *err)
{
    struct ph_pg pg;
    int rc = ph_database_open(&pg, uri, "status", err);
    if (rc == 0) {
        const char *params[] = {NULL};
        rc = ph_database_read(&pg, ph_sql_postgres_q_status, 1, params, ret, err);
        ph_pg_close(&pg);
    }
    return rc;
}

static int status_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    if (read_status(cli->operand, &res, &err) < 0) {
        return ph_cli_fail(&err);
    }
    struct ph_buf out;
    ph_buf_init(&out, PH_CLI_PAGE_MAX * 64);
    if (ph_cli_get(cli, "json")) {
        put_json(&out, res);
    } else {
        put_person(&out, res);
    }
    int status = ph_cli_print(&out);
    ph_buf_free(&out);
    return status;
}

static const struct ph_cli_option status_options[] = {
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_status = {
    .name = "status",
    .summary = "Shows how far each pipeline is.",
    .usage = "status DB-URI [--json]",
    .operand = "DB-URI",
    .operand_needed = true,
    .options = status_options,
    .details = "The lag is exact up to 100,000 events, and beyond that an estimate, marked ~.\n"
               "--json gives "
               "{\"pipelines\":[{\"name\",\"shard\",\"position\",\"lagEvents\",\"lagEstimated\",\n"
               "\"lagSeconds\",\"owner\",\"epoch\",\"expiresAt\",\"lastError\",\"lastErrorAt\","
               "\"updatedAt\"}]};\n"
               "null is what is not known, and the owner once its lease has run out.",
    .run = status_run,
};
