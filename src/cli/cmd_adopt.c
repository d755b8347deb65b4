/*
 * posthorn adopt DB-URI [PIPELINE] --from-position P [--shard N] | --since TIME | --all | --keep:
 * a person decides where pipelines go on in a log that was restored or copied, or whose sink knows
 * more.
 * Place: a row of ph_commands over the outbox driver's adopt.
 * Promise: without --yes nothing changes; with it all or nothing, in one transaction.
 */
#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"
#include "cli/who.h"

#define SHARDS_MAX 64

struct answer {
    struct ph_buf out;
    bool json, dry_run, rebased;
    size_t rows;
    struct ph_buf refused; /* why --yes would be refused now, or empty */
};

static void put_json_row(struct ph_buf *out, const struct ph_outbox_adopted *row, bool first)
{
    ph_buf_puts(out, first ? "{" : ",{");
    ph_cli_json_text(out, "pipeline", row->pipeline);
    ph_cli_json_raw(out, "shard", row->shard);
    ph_cli_json_raw(out, "moved", row->moved ? "true" : "false");
    ph_cli_json_text(out, "from", row->from);
    ph_cli_json_text(out, "to", row->to);
    ph_buf_printf(out,
                  ",\"again\":%lld,\"first\":%lld,\"skipped\":%lld,\"beside\":%lld,\"inSink\":%s}",
                  (long long)row->again, (long long)row->first, (long long)row->skipped,
                  (long long)row->beside, row->in_sink ? "true" : "false");
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void put_person_row(struct ph_buf *out, const struct ph_outbox_adopted *row)
{
    ph_buf_puts(out, "pipeline ");
    ph_cli_put_plain(out, ph_str_from(row->pipeline));
    ph_buf_printf(out, ", shard %s: stands at %s, %s %s\n", row->shard, row->from,
                  row->moved ? "goes on behind" : "was not named and keeps", row->to);
    ph_buf_printf(out, "  %lld event%s again, %lld for the first time, %lld skipped\n",
                  (long long)row->again, plural(row->again), (long long)row->first,
                  (long long)row->skipped);
    if (row->in_sink && row->again + row->first > 0) {
        ph_buf_puts(out, "  the sink may hold some of these: it kept a checkpoint of its own\n");
    }
    if (row->beside > 0) {
        ph_buf_printf(out, "  %lld parked, dead or scheduled event%s as before\n",
                      (long long)row->beside, row->beside == 1 ? " stays" : "s stay");
    }
}

static int put_row(void *arg, const struct ph_outbox_adopted *row)
{
    struct answer *answer = arg;
    if (answer->json) {
        put_json_row(&answer->out, row, answer->rows == 0);
    } else {
        put_person_row(&answer->out, row);
    }
    answer->rows++;
    answer->rebased |= row->rebased;
    if (row->refused && answer->refused.len == 0) { /* it is about the whole act */
        ph_buf_puts(&answer->refused, row->refused);
    }
    return 0;
}

static void put_json_end(struct answer *answer)
{
    bool refused = answer->refused.len > 0;
    ph_buf_printf(&answer->out, "],\"rebased\":%s,\"dryRun\":%s",
                  answer->rebased ? "true" : "false", answer->dry_run ? "true" : "false");
    ph_cli_json_text(&answer->out, "refused", refused ? answer->refused.ptr : NULL);
    ph_buf_puts(&answer->out, "}\n");
}

static void put_end(struct answer *answer)
{
    const char *does = answer->dry_run ? "would be" : "were";
    if (answer->rows == 0) {
        ph_buf_puts(&answer->out, "no pipeline has a checkpoint: none is moved\n");
    }
    if (answer->rebased) {
        ph_buf_printf(&answer->out,
                      "the transaction ids of the log mean nothing in this database: they %s "
                      "replaced\n",
                      does);
    }
    if (answer->refused.len > 0) {
        ph_buf_puts(&answer->out, "nothing was changed, and --yes would be refused now: ");
        ph_cli_put_plain(&answer->out, ph_buf_str(&answer->refused));
        ph_buf_putc(&answer->out, '\n');
        return;
    }
    ph_buf_puts(&answer->out, answer->dry_run
                                  ? "nothing was changed: add --yes to do it\n"
                                  : "adopted: start the pipelines of this database again\n");
}

static int read_place(const char *text, struct ph_position *ret, struct ph_error *err)
{
    if (!ph_position_parse(ph_str_from(text), ret)) {
        return ph_fail(err, PH_E_USAGE,
                       "--from-position %s: write it as TICK-POSITION, as posthorn status shows it",
                       text);
    }
    return 0;
}

/* -1 where none was given. */
static int read_shard(const struct ph_cli *cli, int *ret, struct ph_error *err)
{
    int64_t shard = -1;
    if (ph_cli_get(cli, "shard") && (!ph_cli_get(cli, "from-position") || !cli->operands[1])) {
        return ph_fail(err, PH_E_USAGE, "--shard goes with PIPELINE and --from-position");
    }
    int rc = ph_cli_number(cli, "shard", 0, SHARDS_MAX - 1, &shard, err);
    *ret = (int)shard;
    return rc;
}

static int read_how(const struct ph_cli *cli, struct ph_outbox_adopt *how, struct ph_error *err)
{
    const char *from = ph_cli_get(cli, "from-position");
    bool since = ph_cli_get(cli, "since"), all = ph_cli_get(cli, "all");
    bool keep = ph_cli_get(cli, "keep");
    if ((from != NULL) + since + all + keep != 1) {
        return ph_fail(err, PH_E_USAGE,
                       "say one of --from-position TICK-POSITION, --since TIME, --all and --keep");
    }
    *how = (struct ph_outbox_adopt){
        .pipeline = cli->operands[1],
        .kind = from    ? PH_ADOPT_FROM
                : since ? PH_ADOPT_SINCE
                : all   ? PH_ADOPT_ALL
                        : PH_ADOPT_KEEP,
        .dry_run = !ph_cli_get(cli, "yes"),
    };
    int rc = from ? read_place(from, &how->from, err) : 0;
    if (rc == 0) {
        rc = read_shard(cli, &how->shard, err);
    }
    return rc < 0 ? rc : ph_cli_time(cli, "since", &how->since_us, err);
}

static int adopt(const struct ph_cli *cli, const struct ph_outbox_adopt *how, struct answer *answer,
                 struct ph_error *err)
{
    char who[PH_WHO_MAX];
    struct ph_database db;
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int rc = ph_database_open(&db, cli->operands[0], "adopt", err);
    if (rc == 0) {
        rc = db.driver->adopt(db.ctx, how, &act, put_row, answer, err);
    }
    ph_database_close(&db);
    return rc;
}

static int adopt_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct ph_outbox_adopt how;
    int rc = read_how(cli, &how, &err);
    if (rc < 0) {
        return ph_cli_misused(cli, &err);
    }
    struct answer answer = {.json = ph_cli_get(cli, "json") != NULL, .dry_run = how.dry_run};
    ph_buf_init(&answer.out, PH_CLI_PAGE_MAX);
    ph_buf_init(&answer.refused, PH_CLI_PAGE_MAX);
    ph_buf_puts(&answer.out, answer.json ? "{\"checkpoints\":[" : "");
    rc = adopt(cli, &how, &answer, &err);
    (answer.json ? put_json_end : put_end)(&answer);
    int status = rc < 0 ? ph_cli_fail(&err) : ph_cli_print(&answer.out);
    ph_buf_free(&answer.out);
    ph_buf_free(&answer.refused);
    return status;
}

static const struct ph_cli_option adopt_options[] = {
    {"from-position", "TICK-POSITION", "Goes on behind this place in the log.", false},
    {"shard", "N", "The shard that --from-position is about, where a pipeline has several.", false},
    {"since", "TIME", "Goes on in front of what was created at this time or later.", false},
    {"all", NULL, "Sends all that the log retains.", false},
    {"keep", NULL, "Goes on behind the stored checkpoints.", false},
    {"reason", "TEXT", "Why, for the log's audit.", false},
    {"yes", NULL, "Does it; without, it only says what would be done.", false},
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_adopt = {
    .name = "adopt",
    .summary = "Takes over a log that was restored or copied.",
    .usage = "adopt DB-URI [PIPELINE] --since TIME|--all|--keep [--reason TEXT] [--yes] [--json]\n"
             "adopt DB-URI [PIPELINE] --from-position TICK-POSITION [--shard N] [--reason TEXT]\n"
             "      [--yes] [--json]",
    .operands = {"DB-URI", "PIPELINE"},
    .operands_needed = 1,
    .options = adopt_options,
    .details =
        "For a person who knows what happened: a dump was restored into another cluster or\n"
        "database, the database was upgraded by pg_upgrade, a standby without the last\n"
        "transactions was promoted, or a sink lost its checkpoint. Says for each pipeline (or\n"
        "PIPELINE alone) how many events are sent again, sent for the first time, and skipped,\n"
        "and changes nothing without --yes. In a log from elsewhere the pipelines that are not\n"
        "named keep their place. What sinks hold counts no more; their next start tells them.\n"
        "A position is one shard's: where PIPELINE has several, --from-position moves the one "
        "that\n"
        "--shard names, and the others are adopted after it, each at its own place. --since goes\n"
        "back to the last tick before the first event created then or later, so that some older\n"
        "ones may come again. Events parked, dead or scheduled stay so. Stop all instances first:\n"
        "refused with status 78 while one owns a pipeline.",
    .run = adopt_run,
};
