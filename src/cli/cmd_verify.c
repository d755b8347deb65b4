/*
 * posthorn verify: does the sink hold what the log says was delivered?
 * Place: a row of ph_commands; verify_run.c finds out, this file says it.
 */
#include "base/json.h"
#include "cli/commands.h"
#include "cli/pipeline_options.h"
#include "cli/verify_run.h"

/* --- the answer --------------------------------------------------------------------------------
 */

static const struct {
    const char *text, *json;
} faults[PH_FAULT_COUNT] = {
    [PH_FAULT_MISSING] = {"missing", "missing"},
    [PH_FAULT_DUPLICATED] = {"duplicated", "duplicated"},
    [PH_FAULT_OUT_OF_ORDER] = {"out of order", "outOfOrder"},
    [PH_FAULT_PHANTOM] = {"phantom", "phantom"},
};

static void put_at(struct ph_buf *out, struct ph_position at)
{
    if (at.tick == 0) { /* a settled event that is not in the sink: only its position is known */
        ph_buf_put_i64(out, at.position);
        return;
    }
    char text[PH_POSITION_TEXT_MAX];
    ph_position_format(at, text);
    ph_buf_puts(out, text);
}

static void put_findings(struct ph_buf *out, const struct ph_verify_result *found, int fault)
{
    const struct ph_compare_result *result = &found->compare;
    for (size_t i = 0; ph_verify_counts(found, fault) && i < result->finding_count[fault]; i++) {
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&result->findings[fault][i].id, id);
        ph_buf_printf(out, "%s: event %s at ", faults[fault].text, id);
        put_at(out, result->findings[fault][i].at);
        ph_buf_putc(out, '\n');
    }
}

static void put_person(struct ph_buf *out, const struct ph_verify_result *found)
{
    const struct ph_compare_result *result = &found->compare;
    ph_buf_printf(out, "compared %lld events with %lld records\n", (long long)result->events,
                  (long long)result->records);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        ph_buf_printf(out, "%s%s %lld", fault ? ", " : "", faults[fault].text,
                      (long long)result->faults[fault]);
    }
    ph_buf_printf(out, "\nskipped %lld, pending %s%lld, beyond the log %lld\n",
                  (long long)found->skipped, found->pending_estimated ? "~" : "",
                  (long long)found->pending, (long long)result->beyond_log);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        put_findings(out, found, fault);
    }
    ph_buf_puts(out, found->ok ? "the guarantee held\n" : "the guarantee did NOT hold\n");
}

static void put_json_findings(struct ph_buf *out, const struct ph_verify_result *found, int fault)
{
    const struct ph_compare_result *result = &found->compare;
    for (size_t i = 0; i < result->finding_count[fault]; i++) {
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&result->findings[fault][i].id, id);
        ph_buf_printf(out, "%s{\"fault\":\"%s\",\"id\":\"%s\",\"position\":\"",
                      out->ptr[out->len - 1] == '[' ? "" : ",", faults[fault].json, id);
        put_at(out, result->findings[fault][i].at);
        ph_buf_puts(out, "\"}");
    }
}

static void put_json(struct ph_buf *out, const struct ph_verify_result *found)
{
    const struct ph_compare_result *result = &found->compare;
    ph_buf_putc(out, '{');
    ph_json_put_member_i64(out, "events", result->events);
    ph_json_put_member_i64(out, "records", result->records);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        ph_json_put_member_i64(out, faults[fault].json, result->faults[fault]);
    }
    ph_json_put_member_i64(out, "skipped", found->skipped);
    ph_json_put_member_i64(out, "pending", found->pending);
    ph_json_put_member_i64(out, "beyondLog", result->beyond_log);
    ph_buf_printf(out, ",\"ok\":%s,\"findings\":[", found->ok ? "true" : "false");
    for (int fault = 0; fault < PH_FAULT_COUNT && !out->failed; fault++) {
        put_json_findings(out, found, fault);
    }
    ph_buf_puts(out, "]}\n");
}

static int answer(const struct ph_verify_result *found, bool json)
{
    struct ph_buf out;
    ph_buf_init(&out, PH_CLI_PAGE_MAX);
    if (json) {
        put_json(&out, found);
    } else {
        put_person(&out, found);
    }
    int status = ph_cli_print(&out);
    ph_buf_free(&out);
    return status != PH_EXIT_OK ? status : found->ok ? PH_EXIT_OK : PH_EXIT_FOUND;
}

/* The pipeline of that name; without one, the only one there is. */
static const struct ph_pipeline_config *choose(const struct ph_config *config, const char *name,
                                               struct ph_error *err)
{
    for (size_t i = 0; i < config->count; i++) {
        if (config->count == 1 || (name && strcmp(config->pipelines[i]->name, name) == 0)) {
            return &config->pipelines[i]->pipeline;
        }
    }
    (void)ph_fail(err, PH_E_USAGE, "verify: %s%s; --name chooses one of the %zu pipelines",
                  name ? "the file has no pipeline " : "--name is missing", name ? name : "",
                  config->count);
    return NULL;
}

static int verify_one(const struct ph_cli *cli, const struct ph_config *config,
                      struct ph_error *err)
{
    struct ph_verify_result found;
    const struct ph_pipeline_config *pipeline = choose(config, ph_cli_get(cli, "name"), err);
    if (!pipeline) {
        return ph_cli_fail(err);
    }
    int rc = ph_verify_run(pipeline, ph_cli_get(cli, "strict") != NULL, &found, err);
    return rc < 0 ? ph_cli_fail(err) : answer(&found, ph_cli_get(cli, "json") != NULL);
}

static int verify_run(const struct ph_cli *cli)
{
    struct ph_cli_pipelines words;
    struct ph_config config = {.count = 0};
    struct ph_error err = {0};
    struct ph_buf problems;
    if (ph_cli_pipelines(cli, &words, &err) < 0) {
        (void)fprintf(stderr, "posthorn: verify: %s (see posthorn help verify)\n", err.text);
        return PH_EXIT_USAGE;
    }
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = ph_config_load(&words.args, &config, &problems);
    ph_cli_complain_all(&problems);
    int status = rc < 0 ? ph_code_exit(rc) : verify_one(cli, &config, &err);
    ph_buf_free(&problems);
    ph_config_free(&config);
    return status;
}

static const struct ph_cli_option verify_options[] = {
    PH_CLI_PIPELINE_OPTIONS,
    {"strict", NULL, "Also wants no event delivered twice.", false},
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_verify = {
    .name = "verify",
    .summary = "Compares the log with a sink.",
    .usage =
        "verify --config FILE [--name PIPELINE] [--set PIPELINE.KEY=VALUE]... [--strict] [--json]\n"
        "verify --from DB-URI --to SINK-URI [--name N] [--set KEY=VALUE]... [--strict] [--json]",
    .options = verify_options,
    .details =
        "Give it the options of run. It looks at the events that the log still holds and that\n"
        "the pipeline has settled, and at the topics to which the route sends them:\n"
        "  missing       settled in the log, and not in the sink\n"
        "  duplicated    events that the sink holds more than once\n"
        "  out of order  first deliveries behind that of a later event of their key, and\n"
        "                records whose position is not the log's\n"
        "  phantom       records that the log would have to know and does not\n"
        "Counted and no fault: events that an operator skipped, pending ones behind the\n"
        "checkpoint, and records older than the log. The sink must hold what the log holds: a\n"
        "topic with a shorter retention shows as missing.\n"
        "Exit status 0 when the guarantee held, 1 when not, with up to ten ids of each fault.\n"
        "Temporary files go to TMPDIR, about 140 bytes an event. --json gives {\"events\",\n"
        "\"records\",\"missing\",\"duplicated\",\"outOfOrder\",\"phantom\",\"skipped\",\"pending\","
        "\n"
        "\"beyondLog\",\"ok\",\"findings\":[{\"fault\",\"id\",\"position\"}]}.",
    .more_help = ph_cli_pipeline_help,
    .run = verify_run,
};
