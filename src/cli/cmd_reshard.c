/*
 * posthorn reshard DB-URI PIPELINE --shards N: a stopped pipeline gets another number of shards.
 * Place: a row of ph_commands over the outbox driver's reshard.
 * Promise: all or nothing, in one transaction; refused while an instance owns a shard.
 */
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"
#include "cli/who.h"

#define SHARDS_MAX 64

static int reshard(const struct ph_cli *cli, int shards, struct ph_outbox_resharded *ret,
                   struct ph_error *err)
{
    char who[PH_WHO_MAX];
    struct ph_database db;
    ph_cli_who(who);
    struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    int rc = ph_database_open(&db, cli->operands[0], "reshard", err);
    if (rc == 0 && !db.driver->reshard) {
        rc = ph_fail(err, PH_E_CONFIG,
                     "a log of kind %s has one reader, so its pipelines have one shard",
                     db.driver->name);
    } else if (rc == 0) {
        rc = db.driver->reshard(db.ctx, cli->operands[1], shards, &act, ret, err);
    }
    ph_database_close(&db);
    return rc;
}

static void put_answer(struct ph_buf *said, const char *pipeline,
                       const struct ph_outbox_resharded *done)
{
    if (done->shards_before == done->shards) {
        ph_buf_printf(said, "it was so already: pipeline %s has %lld shard%s\n", pipeline,
                      (long long)done->shards, done->shards == 1 ? "" : "s");
        return;
    }
    ph_buf_printf(said,
                  "pipeline %s has %lld shard%s now, it had %lld; %lld event%s parked in order "
                  "meanwhile\nstart its instances with shards set to %lld\n",
                  pipeline, (long long)done->shards, done->shards == 1 ? "" : "s",
                  (long long)done->shards_before, (long long)done->parked,
                  done->parked == 1 ? " is" : "s are", (long long)done->shards);
}

static int reshard_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct ph_outbox_resharded done = {0};
    int64_t shards = 0;
    int rc = ph_cli_need(cli, "shards", &err);
    if (rc == 0) {
        rc = ph_cli_number(cli, "shards", 1, SHARDS_MAX, &shards, &err);
    }
    if (rc < 0) {
        return ph_cli_misused(cli, &err);
    }
    rc = reshard(cli, (int)shards, &done, &err);
    if (rc < 0) {
        return ph_cli_fail(&err);
    }
    struct ph_buf said;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    put_answer(&said, cli->operands[1], &done);
    int status = ph_cli_print(&said);
    ph_buf_free(&said);
    return status;
}

static const struct ph_cli_option reshard_options[] = {
    {"shards", "N", "How many it is to have, from 1 to 64.", false},
    {"reason", "TEXT", "Why, for the log's audit.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_reshard = {
    .name = "reshard",
    .summary = "Gives a stopped pipeline another number of shards.",
    .usage = "reshard DB-URI PIPELINE --shards N [--reason TEXT]",
    .operands = {"DB-URI", "PIPELINE"},
    .operands_needed = 2,
    .options = reshard_options,
    .details =
        "Stop all instances of the pipeline, reshard, set its option shards, and start them.\n"
        "Nothing is lost, and each key keeps its order: what not all shards have reached is\n"
        "parked (at most 100,000 events, else let it deliver first) and goes out first. Refused\n"
        "with status 78 while an instance owns a shard, whose name it says.",
    .run = reshard_run,
};
