/*
 * The help pages and the versions: made from the commands' tables, so that they cannot differ from
 * what is parsed.
 * Place: used by `posthorn help`, --help and --version.
 */
#include "cli/cli.h"

#include <libpq-fe.h>
#ifdef PH_WITH_KAFKA
#include <librdkafka/rdkafka.h>
#endif

#define HELP_COLUMN 34

static void put_padded(struct ph_buf *out, const struct ph_buf *left, const char *right)
{
    ph_buf_put_str(out, ph_buf_str(left));
    size_t gap = left->len + 2 <= HELP_COLUMN ? HELP_COLUMN - left->len : 0;
    if (gap == 0) {
        ph_buf_putc(out, '\n');
        gap = HELP_COLUMN;
    }
    ph_buf_printf(out, "%*s%s\n", (int)gap, "", right);
}

static void put_options(struct ph_buf *out, const struct ph_cli_option *table)
{
    for (; table && table->name; table++) {
        struct ph_buf left;
        ph_buf_init(&left, 256);
        char letter = ph_cli_letter(table->name);
        if (letter) {
            ph_buf_printf(&left, "  -%c,", letter);
        }
        ph_buf_printf(&left, "%s--%s%s%s%s", letter ? " " : "  ", table->name,
                      table->arg ? " " : "", table->arg ? table->arg : "",
                      table->repeat ? "..." : "");
        put_padded(out, &left, table->help);
        ph_buf_free(&left);
    }
}

static void put_usage(struct ph_buf *out, const char *usage)
{
    while (*usage) {
        int len = 0;
        while (usage[len] && usage[len] != '\n') {
            len++;
        }
        ph_buf_printf(out, "  posthorn %.*s\n", len, usage);
        usage += len + (usage[len] == '\n');
    }
}

static void put_command_page(struct ph_buf *out, const struct ph_command *command)
{
    ph_buf_printf(out, "%s\n\nUsage:\n", command->summary);
    put_usage(out, command->usage);
    if (command->details) {
        ph_buf_printf(out, "\n%s\n", command->details);
    }
    ph_buf_puts(out, "\nOptions:\n");
    put_options(out, command->options);
    put_options(out, ph_cli_common_options);
    if (command->more_help) {
        command->more_help(out);
    }
}

static void put_front_page(struct ph_buf *out)
{
    ph_buf_puts(out, "Carries the events that a service committed to its database to everyone who "
                     "must hear of them.\n\nUsage:\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        put_usage(out, ph_commands[i]->usage);
    }
    ph_buf_puts(out, "\nCommands:\n");
    for (size_t i = 0; ph_commands[i]; i++) {
        struct ph_buf left;
        ph_buf_init(&left, 256);
        ph_buf_printf(&left, "  %s", ph_commands[i]->name);
        put_padded(out, &left, ph_commands[i]->summary);
        ph_buf_free(&left);
    }
    ph_buf_puts(out, "\nOptions of every command:\n");
    put_options(out, ph_cli_common_options);
    ph_buf_puts(
        out, "\nDB-URI is sqlite:PATH, postgresql://... or any libpq connection string; PG* "
             "variables, .pgpass and service files work.\n"
             "SINK-URI is kafka://HOST:PORT[,HOST:PORT], stdout: or file:PATH.\n"
             "Exit status: 0 done, 1 verify found something, 64 wrong use, 65 bad data, "
             "69 a service is unavailable,\n"
             "70 a fault of posthorn, 71 out of memory, 74 input or output, 78 configuration.\n");
}

void ph_cli_help(const struct ph_command *command, struct ph_buf *out)
{
    if (command) {
        put_command_page(out, command);
    } else {
        put_front_page(out);
    }
}

static void put_versions(struct ph_buf *out, const char *between)
{
    ph_buf_puts(out, "posthorn " PH_VERSION);
    int pq = PQlibVersion();
    ph_buf_printf(out, "%slibpq %d.%d", between, pq / 10000, pq % 10000);
#ifdef PH_WITH_KAFKA
    ph_buf_printf(out, "%slibrdkafka %s", between, rd_kafka_version_str());
#endif
}

void ph_cli_versions(struct ph_buf *out)
{
    put_versions(out, "\n");
    ph_buf_putc(out, '\n');
}

void ph_cli_versions_line(struct ph_buf *out)
{
    put_versions(out, ", ");
}
