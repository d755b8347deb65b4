/*
 * posthorn verify: does the sink hold what the log says was delivered?
 * Place: a row of ph_commands; the log's side is verify_log.c, the sink's the driver's scan, the
 * judgement verify_compare.c.
 * Promise: reads only. The checkpoint is read first, then the log, then the sink, and last the log
 * is asked about whatever is left unexplained, so that a pipeline may run meanwhile.
 */
#include "base/json.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/pipeline_options.h"
#include "cli/verify_log.h"

struct verify {
    const struct ph_pipeline_config *config;
    struct ph_verify_log log;
    struct ph_compare *compare;
    struct ph_error scan_error; /* why taking in a record failed */
    struct ph_compare_result result;
    int64_t pending;
    bool pending_estimated, strict, ok;
};

static void warn(const char *pipeline, const char *text)
{
    ph_log(PH_LOG_WARN, pipeline, "%s", text);
}

static int take_record(void *arg, const struct ph_record *record)
{
    struct verify *verify = arg;
    return ph_compare_record(verify->compare, record, &verify->scan_error);
}

static int scan_sink(struct verify *verify, struct ph_stop *stop, struct ph_error *err)
{
    const struct ph_pipeline_config *config = verify->config;
    bool topics = config->sink->caps & PH_SINK_RECORDS;
    if (topics && verify->log.topic_count == 0) {
        return 0; /* nothing was ever sent anywhere */
    }
    struct ph_sink_env env = {.pipeline = config->name,
                              .uri = config->to,
                              .window_batches = (size_t)config->options.window,
                              .stop = stop,
                              .warn = warn};
    int rc = config->sink->scan(&env, config->sink_config, verify->log.topics,
                                verify->log.topic_count, take_record, verify, err);
    if (rc < 0 && verify->scan_error.code < 0) {
        *err = verify->scan_error;
    }
    return rc;
}

static int read_log(struct verify *verify, struct ph_error *err)
{
    const struct ph_pipeline_config *config = verify->config;
    struct ph_route *route = NULL;
    int rc = ph_verify_log_open(&verify->log, config->from, config->name, err);
    if (rc == 0) {
        rc = ph_compare_new(verify->log.estimate, &verify->compare, err);
    }
    if (rc == 0 && config->sink->caps & PH_SINK_RECORDS) {
        rc = ph_route_new(config->route, &route, err);
    }
    if (rc == 0) {
        rc = ph_verify_log_read(&verify->log, route, verify->compare, err);
    }
    ph_route_free(route);
    return rc;
}

static int compare(struct verify *verify, struct ph_error *err)
{
    struct ph_stop stop;
    int rc = read_log(verify, err);
    if (rc < 0) {
        return rc;
    }
    rc = ph_stop_init(&stop, err);
    if (rc < 0) {
        return rc;
    }
    rc = scan_sink(verify, &stop, err);
    ph_stop_free(&stop);
    if (rc == 0) {
        rc = ph_verify_log_reopen(&verify->log, verify->config->from, err);
    }
    if (rc == 0) {
        struct ph_compare_lookup lookup = {ph_verify_log_ask, &verify->log};
        rc = ph_compare_finish(verify->compare, &lookup, &verify->result, err);
    }
    if (rc == 0) {
        rc = ph_verify_log_pending(&verify->log, &verify->pending, &verify->pending_estimated, err);
    }
    return rc;
}

/* --- the answer --------------------------------------------------------------------------------
 */

static const struct {
    const char *text, *json;
    bool always; /* a breach of the guarantee, not only under --strict */
} faults[PH_FAULT_COUNT] = {
    [PH_FAULT_MISSING] = {"missing", "missing", true},
    [PH_FAULT_DUPLICATED] = {"duplicated", "duplicated", false},
    [PH_FAULT_OUT_OF_ORDER] = {"out of order", "outOfOrder", true},
    [PH_FAULT_PHANTOM] = {"phantom", "phantom", true},
};

static bool counts(const struct verify *verify, int fault)
{
    return faults[fault].always || verify->strict;
}

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

static void put_findings(struct ph_buf *out, const struct verify *verify, int fault)
{
    const struct ph_compare_result *result = &verify->result;
    for (size_t i = 0; counts(verify, fault) && i < result->finding_count[fault]; i++) {
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&result->findings[fault][i].id, id);
        ph_buf_printf(out, "%s: event %s at ", faults[fault].text, id);
        put_at(out, result->findings[fault][i].at);
        ph_buf_putc(out, '\n');
    }
}

static void put_person(struct ph_buf *out, const struct verify *verify)
{
    const struct ph_compare_result *result = &verify->result;
    ph_buf_printf(out, "compared %lld events with %lld records\n", (long long)result->events,
                  (long long)result->records);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        ph_buf_printf(out, "%s%s %lld", fault ? ", " : "", faults[fault].text,
                      (long long)result->faults[fault]);
    }
    ph_buf_printf(out, "\nskipped %lld, pending %s%lld, beyond the log %lld\n",
                  (long long)verify->log.skipped, verify->pending_estimated ? "~" : "",
                  (long long)verify->pending, (long long)result->beyond_log);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        put_findings(out, verify, fault);
    }
    ph_buf_puts(out, verify->ok ? "the guarantee held\n" : "the guarantee did NOT hold\n");
}

static void put_json_findings(struct ph_buf *out, const struct verify *verify, int fault)
{
    const struct ph_compare_result *result = &verify->result;
    for (size_t i = 0; i < result->finding_count[fault]; i++) {
        char id[PH_UUID_TEXT_LEN + 1];
        ph_uuid_format(&result->findings[fault][i].id, id);
        ph_buf_printf(out, "%s{\"fault\":\"%s\",\"id\":\"%s\",\"position\":\"",
                      out->ptr[out->len - 1] == '[' ? "" : ",", faults[fault].json, id);
        put_at(out, result->findings[fault][i].at);
        ph_buf_puts(out, "\"}");
    }
}

static void put_json(struct ph_buf *out, const struct verify *verify)
{
    const struct ph_compare_result *result = &verify->result;
    ph_buf_putc(out, '{');
    ph_json_put_member_i64(out, "events", result->events);
    ph_json_put_member_i64(out, "records", result->records);
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        ph_json_put_member_i64(out, faults[fault].json, result->faults[fault]);
    }
    ph_json_put_member_i64(out, "skipped", verify->log.skipped);
    ph_json_put_member_i64(out, "pending", verify->pending);
    ph_json_put_member_i64(out, "beyondLog", result->beyond_log);
    ph_buf_printf(out, ",\"ok\":%s,\"findings\":[", verify->ok ? "true" : "false");
    for (int fault = 0; fault < PH_FAULT_COUNT && !out->failed; fault++) {
        put_json_findings(out, verify, fault);
    }
    ph_buf_puts(out, "]}\n");
}

static int answer(struct verify *verify, bool json)
{
    verify->ok = true;
    for (int fault = 0; fault < PH_FAULT_COUNT; fault++) {
        if (counts(verify, fault) && verify->result.faults[fault] > 0) {
            verify->ok = false;
        }
    }
    struct ph_buf out;
    ph_buf_init(&out, PH_CLI_PAGE_MAX);
    if (json) {
        put_json(&out, verify);
    } else {
        put_person(&out, verify);
    }
    int status = ph_cli_print(&out);
    ph_buf_free(&out);
    return status != PH_EXIT_OK ? status : verify->ok ? PH_EXIT_OK : PH_EXIT_FOUND;
}

/* --- the command -------------------------------------------------------------------------------
 */

static int check_drivers(const struct ph_pipeline_config *config, struct ph_error *err)
{
    const struct ph_outbox_driver *log = ph_outbox_find(config->from);
    if (!log || !log->verify_begin) {
        return ph_fail(err, PH_E_CONFIG, "verify cannot read a log of kind %s",
                       config->source->name);
    }
    if (!config->sink->scan) {
        return ph_fail(err, PH_E_CONFIG, "a sink of kind %s cannot be read back",
                       config->sink->name);
    }
    return 0;
}

static int verify_run(const struct ph_cli *cli)
{
    struct ph_settings settings = {0};
    struct ph_error err = {0};
    static struct verify verify;
    int status = ph_cli_settings(cli, &settings);
    if (status == PH_EXIT_OK) {
        verify.config = &settings.pipeline;
        verify.strict = ph_cli_get(cli, "strict") != NULL;
        int rc = check_drivers(&settings.pipeline, &err);
        if (rc == 0) {
            rc = compare(&verify, &err);
        }
        status = rc < 0 ? ph_cli_fail(&err) : answer(&verify, ph_cli_get(cli, "json") != NULL);
        ph_compare_free(verify.compare);
        ph_verify_log_close(&verify.log);
    }
    ph_settings_free(&settings);
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
