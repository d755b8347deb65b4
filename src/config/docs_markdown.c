/* docs/config.md: where values come from, then a table for each option table. */
#include "config/docs.h"

static const char introduction[] =
    "# Configuration\n\n"
    "<!-- made by `posthorn config docs`; a test keeps it current -->\n\n"
    "`posthorn run -c FILE` reads a YAML file of pipelines:\n\n"
    "```yaml\n"
    "pipelines:\n"
    "  orders:\n"
    "    source: {uri: \"postgresql:///shop\", poll_max: 20ms}\n"
    "    sink: {uri: \"kafka://broker:9092\", kafka: {compression.type: zstd}}\n"
    "    match: {event_type: \"Order*|Refund\", header: {priority: high}}\n"
    "    route: {topic: \"shop.{aggregate_type}\", rules: [{event_type: \"Audit*\", topic: "
    "audit}]}\n"
    "    settle_interval: 100ms\n"
    "defaults:\n"
    "  lease: 10s\n"
    "```\n\n"
    "What is under `defaults` holds for all pipelines, except for those whose driver has no such "
    "option. Nested mappings and dotted\nkeys are the same: `sink: {kafka: {linger.ms: 5}}` is "
    "`sink.kafka.linger.ms: 5`. Anchors, aliases, tags, doubled keys and a second document are "
    "refused.\n\n"
    "- `posthorn config check -c FILE` names all mistakes at once, with file:line:column.\n"
    "- `posthorn config dump -c FILE` shows every value and where it came from; secrets are "
    "masked.\n"
    "- [posthorn.schema.json](posthorn.schema.json) is for editors: begin the file with\n"
    "  `# yaml-language-server: $schema=posthorn.schema.json`.\n"
    "- [posthorn.example.yaml](posthorn.example.yaml) has every option with its default.\n\n"
    "## Where values come from\n\n"
    "The default, then the file, then the environment, then `--set`; the last one wins.\n\n"
    "| | for all pipelines | for one |\n|---|---|---|\n"
    "| file | `defaults: {lease: 10s}` | `pipelines: {orders: {lease: 10s}}` |\n"
    "| environment | `POSTHORN_LEASE=10s` | `POSTHORN_ORDERS__LEASE=10s` |\n"
    "| words | `--set '*.lease=10s'` | `--set orders.lease=10s` |\n\n"
    "In the environment a key is written in capitals, and every character that is no letter or "
    "digit as `_`; two of them stand between\npipeline and key. Below a map the `_` stand for "
    "dots: `POSTHORN_SINK_KAFKA_LINGER_MS`. Two pipelines whose names become\nthe same cannot be "
    "told apart there and are refused. Variables that begin with `POSTHORN_` and resemble no "
    "option are left alone.\n`POSTHORN_CONFIG` is the file when `-c` is not given.\n\n"
    "These names of other products are understood, for all pipelines:\n\n"
    "| variable | means |\n|---|---|\n"
    "| `OUTBOX_ENABLED` | `false`: the daemon starts nothing, says so and ends with status 0 |\n"
    "| `OUTBOX_POLL_INTERVAL` | `source.poll_max`; a bare number is milliseconds |\n"
    "| `OUTBOX_BATCH_SIZE` | `batch_events` |\n"
    "| `OUTBOX_RETENTION_DAYS` | `source.retention`; a bare number is days |\n\n"
    "## Secrets\n\n"
    "`uri_file: PATH` takes the URI from a file, and so does `KEY_file` for every option whose "
    "name "
    "speaks of a secret\n(`sink.kafka.sasl.password_file`). A relative path is looked up in "
    "`$CREDENTIALS_DIRECTORY` first, where systemd's `LoadCredential=`\nputs files, and then in "
    "the "
    "working directory. One line end "
    "behind the secret does not count. A configuration file that every user can read must hold no "
    "secret.\n\n";

/* A '|' would end the column. */
static void put_cell(struct ph_buf *out, const char *text)
{
    ph_buf_puts(out, " ");
    for (; *text; text++) {
        ph_buf_puts(out, *text == '|' ? "\\" : "");
        ph_buf_putc(out, *text);
    }
    ph_buf_puts(out, " |");
}

static void put_key(struct ph_buf *out, const char *family, const char *name, const char *value,
                    const char *fallback, const char *help)
{
    ph_buf_printf(out, "| `%s%s%s` |", family, *family ? "." : "", name);
    put_cell(out, value);
    if (fallback && *fallback) {
        ph_buf_printf(out, " `%s` |", fallback);
    } else {
        ph_buf_puts(out, fallback ? " empty |" : "  |");
    }
    put_cell(out, help);
    ph_buf_putc(out, '\n');
}

static void begin_section(struct ph_buf *out, const struct ph_docs_section *section)
{
    const char *title = *section->family ? section->family : "pipeline";
    ph_buf_printf(out, "## %s%s%s\n\n%s\n", title, section->driver ? ": " : "",
                  section->driver ? section->driver : "", section->about);
    if (section->table[0].name) {
        ph_buf_puts(out, "\n| key | value | default | |\n|---|---|---|---|\n");
    }
}

static void end_section(struct ph_buf *out)
{
    ph_buf_putc(out, '\n');
}

void ph_docs_markdown(struct ph_buf *out)
{
    static const struct ph_docs_format format = {begin_section, put_key, end_section};
    ph_buf_puts(out, introduction);
    ph_docs_walk(out, &format);
    out->len -= out->len > 0 && !out->failed; /* one line end is enough */
}
