/*
 * posthorn replay: the history of a pipeline once more, to another destination.
 * Place: a row of ph_commands; replay.c does it, this file finds the pipeline's settings, puts the
 * other destination into them and says what came of it.
 * Promise: a destination where the pipeline itself delivers is refused; so are the pipeline's own
 * credentials for any other.
 */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/database.h"
#include "cli/people.h"
#include "cli/replay.h"
#include "cli/who.h"
#include "config/config.h"
#include "config/uri.h"

#define DETAIL_MAX 65536

/* --- is it the same place? ---------------------------------------------------------------------
 */

static struct ph_str behind_scheme(const char *uri)
{
    const char *rest = strchr(uri, ':');
    rest = rest ? rest + 1 : uri;
    rest += strncmp(rest, "//", 2) == 0 ? 2 : 0;
    return (struct ph_str){rest, strcspn(rest, "/?")};
}

static bool has_host(struct ph_str hosts, struct ph_str host)
{
    for (size_t at = 0; at < hosts.len;) {
        const char *end = memchr(hosts.ptr + at, ',', hosts.len - at);
        size_t len = end ? (size_t)(end - hosts.ptr) - at : hosts.len - at;
        if (len == host.len && strncasecmp(hosts.ptr + at, host.ptr, len) == 0) {
            return true;
        }
        at += len + 1;
    }
    return false;
}

static bool share_host(struct ph_str a, struct ph_str b)
{
    for (size_t at = 0; at < a.len;) {
        const char *end = memchr(a.ptr + at, ',', a.len - at);
        size_t len = end ? (size_t)(end - a.ptr) - at : a.len - at;
        if (has_host(b, (struct ph_str){a.ptr + at, len})) {
            return true;
        }
        at += len + 1;
    }
    return false;
}

static bool same_file(const char *a, const char *b)
{
    char real_a[PATH_MAX], real_b[PATH_MAX];
    const char *path_a = strchr(a, ':') + 1, *path_b = strchr(b, ':') + 1;
    return realpath(path_a, real_a) && realpath(path_b, real_b) && strcmp(real_a, real_b) == 0;
}

/* Whether two URIs of one driver name one destination: a file, or brokers that have one in common.
 */
static bool same_place(const char *a, const char *b)
{
    if (strcmp(a, b) == 0) {
        return true;
    }
    return strstr(a, "://") && strstr(b, "://") ? share_host(behind_scheme(a), behind_scheme(b))
                                                : same_file(a, b);
}

/* --- the settings ------------------------------------------------------------------------------
 */

struct settings {
    struct ph_config config;   /* as the pipeline runs, or would run to the new destination */
    struct ph_settings replay; /* of a pipeline of a file, with the other destination */
    const struct ph_settings *own;
    bool own_place;
};

static const struct ph_settings *find_pipeline(const struct ph_config *config, const char *name,
                                               struct ph_error *err)
{
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->pipelines[i]->name, name) == 0) {
            return config->pipelines[i];
        }
    }
    (void)ph_fail(err, PH_E_USAGE, "the file has no pipeline %s", name);
    return NULL;
}

/* What was set for the pipeline; for its sink only where that is the destination's cluster too. */
static int copy_values(const struct settings *s, struct ph_values *out, struct ph_error *err)
{
    const struct ph_values *given = &s->own->given;
    for (size_t i = 0; i < given->count; i++) {
        const struct ph_value *value = &given->items[i];
        bool of_sink = strncmp(value->key, "sink.", 5) == 0;
        if (of_sink && !s->own_place) {
            continue;
        }
        int rc = ph_values_add(out, ph_str_from(value->pipeline), ph_str_from(value->key),
                               ph_str_from(value->value), value->origin, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int load_replay(struct settings *s, const struct ph_cli *cli, struct ph_buf *problems,
                       struct ph_error *err)
{
    const char *assignments[PH_CLI_VALUES_MAX];
    struct ph_values values = {.count = 0};
    const struct ph_values *const layers[] = {&values};
    const struct ph_sink_driver *sink = ph_sink_find(ph_cli_get(cli, "to"));
    s->own_place =
        sink == s->own->pipeline.sink && sink && same_place(s->own->to, ph_cli_get(cli, "to"));
    const struct ph_settings_args args = {
        .from = s->own->from,
        .to = ph_cli_get(cli, "to"),
        .name = s->own->name,
        .layers = layers,
        .layer_count = 1,
        .assignments = assignments,
        .assignment_count = ph_cli_all(cli, "set", assignments, PH_CLI_VALUES_MAX),
        .once = true,
    };
    int rc = copy_values(s, &values, err);
    if (rc == 0) {
        rc = ph_settings_load(&s->replay, &args, problems);
    }
    ph_values_free(&values);
    return rc;
}

static int load_file(struct settings *s, const struct ph_cli *cli, const char *path,
                     struct ph_buf *problems, struct ph_error *err)
{
    const struct ph_config_args args = {.path = path, .environ = environ, .once = true};
    int rc = ph_config_load(&args, &s->config, problems);
    if (rc < 0) {
        return rc;
    }
    s->own = find_pipeline(&s->config, ph_cli_get(cli, "pipeline"), err);
    return s->own ? load_replay(s, cli, problems, err) : PH_E_USAGE;
}

static int load_words(struct settings *s, const struct ph_cli *cli, struct ph_buf *problems)
{
    const char *assignments[PH_CLI_VALUES_MAX];
    const struct ph_config_args args = {
        .from = ph_cli_get(cli, "from"),
        .to = ph_cli_get(cli, "to"),
        .name = ph_cli_get(cli, "pipeline"),
        .assignments = assignments,
        .assignment_count = ph_cli_all(cli, "set", assignments, PH_CLI_VALUES_MAX),
        .environ = environ,
        .once = true,
    };
    return ph_config_load(&args, &s->config, problems);
}

static const struct ph_pipeline_config *pipeline_of(const struct settings *s)
{
    return s->own ? &s->replay.pipeline : &s->config.pipelines[0]->pipeline;
}

static int refuse_own_place(const struct settings *s, struct ph_error *err)
{
    if (!s->own_place || s->own->pipeline.sink->caps & PH_SINK_RECORDS) {
        return 0; /* records have topics, which each event is asked for */
    }
    return ph_fail(err, PH_E_CONFIG,
                   "--to is where pipeline %s delivers: replay to another destination",
                   s->own->name);
}

/* --- the answer --------------------------------------------------------------------------------
 */

static void put_person(struct ph_buf *out, const struct ph_replay *replay,
                       const struct ph_replay_result *found)
{
    ph_buf_printf(out, "%s %lld event%s of pipeline %s to ",
                  replay->dry_run ? "would replay" : "replayed", (long long)found->events,
                  found->events == 1 ? "" : "s", replay->config->name);
    ph_uri_redact(replay->config->to, out);
    ph_buf_putc(out, '\n');
    if (found->refused > 0) {
        ph_buf_printf(out, "refused: %lld, the first was ", (long long)found->refused);
        ph_cli_put_plain(out, ph_str_from(found->why));
        ph_buf_putc(out, '\n');
    }
}

static int answer(const struct ph_replay *replay, const struct ph_replay_result *found, bool json)
{
    struct ph_buf out;
    ph_buf_init(&out, PH_CLI_PAGE_MAX);
    if (json) {
        ph_buf_printf(&out, "{\"events\":%lld,\"refused\":%lld,\"dryRun\":%s",
                      (long long)found->events, (long long)found->refused,
                      replay->dry_run ? "true" : "false");
        ph_cli_json_text(&out, "firstRefusal", found->refused ? found->why : NULL);
        ph_buf_puts(&out, "}\n");
    } else {
        put_person(&out, replay, found);
    }
    FILE *to = strcmp(replay->config->sink->name, "stdout") == 0 && !json ? stderr : stdout;
    int status = PH_EXIT_OK;
    if (to == stderr) {
        (void)fputs(ph_buf_text(&out), stderr); /* stdout is full of events */
    } else {
        status = ph_cli_print(&out);
    }
    ph_buf_free(&out);
    return status != PH_EXIT_OK ? status : found->refused ? PH_EXIT_FOUND : PH_EXIT_OK;
}

/* --- the command -------------------------------------------------------------------------------
 */

static void put_member(struct ph_buf *out, const char *name, const char *value)
{
    if (value) {
        ph_json_put_member(out, name, ph_str_from(value));
    }
}

/* Who sends history where, and why: in the audit before the first event leaves. */
static int note_replay(const struct ph_cli *cli, const struct ph_replay *replay,
                       struct ph_error *err)
{
    char who[PH_WHO_MAX];
    struct ph_database db;
    struct ph_buf detail, to;
    ph_cli_who(who);
    const struct ph_outbox_act act = {.who = who, .reason = ph_cli_get(cli, "reason")};
    ph_buf_init(&detail, DETAIL_MAX);
    ph_buf_init(&to, DETAIL_MAX);
    ph_uri_redact(replay->config->to, &to);
    ph_buf_putc(&detail, '{');
    put_member(&detail, "pipeline", replay->config->name);
    put_member(&detail, "to", ph_buf_text(&to));
    put_member(&detail, "since", ph_cli_get(cli, "since"));
    put_member(&detail, "key", replay->key);
    put_member(&detail, "eventType", replay->event_type);
    ph_buf_putc(&detail, '}');
    int rc = ph_database_open(&db, replay->config->from, "replay", err);
    if (rc == 0) {
        rc = db.driver->note(db.ctx, "replay", &act, &detail, err);
    }
    ph_database_close(&db);
    ph_buf_free(&detail);
    ph_buf_free(&to);
    return rc;
}

static int replay_events(const struct ph_cli *cli, const struct settings *s, struct ph_error *err)
{
    struct ph_replay_result found = {0};
    struct ph_replay replay = {
        .config = pipeline_of(s),
        .own_route = s->own_place ? &s->own->route : NULL,
        .key = ph_cli_get(cli, "key"),
        .event_type = ph_cli_get(cli, "event-type"),
        .dry_run = ph_cli_get(cli, "dry-run") != NULL,
    };
    int rc = ph_cli_time(cli, "since", &replay.since_us, err);
    if (rc == 0) {
        rc = refuse_own_place(s, err);
    }
    if (rc == 0 && !replay.dry_run) {
        rc = note_replay(cli, &replay, err);
    }
    if (rc == 0) {
        rc = ph_replay_run(&replay, &found, err);
        if (rc < 0 && found.events > 0) {
            (void)ph_fail_prefix(err, "%lld events were replayed, then", (long long)found.events);
        }
    }
    return rc < 0 ? ph_cli_fail(err) : answer(&replay, &found, ph_cli_get(cli, "json") != NULL);
}

static int check_words(const struct ph_cli *cli, const char **ret_path, struct ph_error *err)
{
    int64_t since_us;
    const char *path = ph_cli_get(cli, "config");
    const char *from = ph_cli_get(cli, "from");
    int rc = ph_cli_need(cli, "pipeline", err);
    if (rc == 0) {
        rc = ph_cli_need(cli, "to", err);
    }
    if (rc == 0) {
        rc = ph_cli_time(cli, "since", &since_us, err);
    }
    if (rc == 0 && path && from) {
        rc = ph_fail(err, PH_E_USAGE, "--from does not go with --config");
    }
    *ret_path = path || from ? path : getenv("POSTHORN_CONFIG");
    if (rc == 0 && !*ret_path && !from) {
        rc = ph_fail(err, PH_E_USAGE, "--config FILE or --from DB-URI is missing");
    }
    return rc;
}

static int replay_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    struct settings s = {.own = NULL};
    struct ph_buf problems;
    const char *path;
    if (check_words(cli, &path, &err) < 0) {
        return ph_cli_misused(cli, &err);
    }
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = path ? load_file(&s, cli, path, &problems, &err) : load_words(&s, cli, &problems);
    ph_cli_complain_all(&problems);
    int status = rc == 0     ? replay_events(cli, &s, &err)
                 : *err.text ? ph_cli_fail(&err)
                             : ph_code_exit(rc);
    ph_buf_free(&problems);
    ph_settings_free(&s.replay);
    ph_config_free(&s.config);
    return status;
}

static const struct ph_cli_option replay_options[] = {
    {"pipeline", "N", "Whose history.", false},
    {"config", "FILE", "The configuration that has the pipeline; else the file of POSTHORN_CONFIG.",
     false},
    {"from", "DB-URI", "Instead of --config: the database with the log.", false},
    {"to", "SINK-URI", "Where to; not where the pipeline delivers.", false},
    {"since", "TIME", "Only events created at this time or later.", false},
    {"key", "K", "Only events of this key.", false},
    {"event-type", "T", "Only events of this type.", false},
    {"set", "KEY=VALUE", "Sets an option for the replay: route.topic, sink.*, ...", true},
    {"reason", "TEXT", "Why, for the audit.", false},
    {"dry-run", NULL, "Says how many it would be, and submits nothing.", false},
    {"json", NULL, "Writes one JSON object instead of text.", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_replay = {
    .name = "replay",
    .summary = "Delivers the history of a pipeline once more, to another destination.",
    .usage = "replay --pipeline N --config FILE --to SINK-URI [--since TIME] [--key K] "
             "[--event-type T] [--set KEY=VALUE]... [--dry-run] [--json]\n"
             "replay --pipeline N --from DB-URI --to SINK-URI [--since TIME] [--key K] "
             "[--event-type T] [--set KEY=VALUE]... [--dry-run] [--json]",
    .options = replay_options,
    .details =
        "Reads the events that the log still holds, up to the pipeline's stored checkpoint,\n"
        "matches and routes them as the pipeline does, and submits them with the header\n"
        "posthorn-replay: true. The pipeline may run meanwhile: its lease and its checkpoint are\n"
        "not touched; posthorn.audit gets a line of who, where to and why. Where the pipeline "
        "itself delivers is refused; on its own Kafka cluster\n"
        "another topic will do (--set route.topic=...), and there its options of the sink hold\n"
        "too; for any other destination give them with --set sink.OPTION=VALUE.\n"
        "Exit status 1 when events were refused, by the route or by the sink; it goes on behind\n"
        "them. --json gives {\"events\",\"refused\",\"dryRun\",\"firstRefusal\"}.",
    .run = replay_run,
};
