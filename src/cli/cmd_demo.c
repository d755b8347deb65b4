/*
 * posthorn demo: a shop on SQLite, the relay beside it, and the proof that nothing is missing.
 * Place: a row of ph_commands; the shop is demo_shop.c, the relay a lane like any other, the
 * judgement that of verify.
 * Promise: it writes into its own folder only, and what it reports it has counted: the shop's own
 * count of committed events, the log and the sink must agree.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/demo_shop.h"
#include "cli/lane.h"
#include "cli/verify_run.h"
#include "config/config.h"
#include "outbox/outbox.h"

#define DIR_DEFAULT     "posthorn-demo"
#define SECONDS_DEFAULT 10
#define SECONDS_MAX     86400
#define CATCH_UP_MS     60000
#define LIVE_MS         200
#define PLAIN_MS        1000
#define PATH_LEN_MAX    2048

static const char marker[] = ".posthorn-demo"; /* says that a folder is a demo's */
static const char *const files[] = {"shop.db", "shop.db-wal", "shop.db-shm", "events.ndjson",
                                    "relay.log"};

struct demo {
    const char *dir;
    int64_t seconds;
    char database[PATH_LEN_MAX], events[PATH_LEN_MAX], log[PATH_LEN_MAX]; /* paths */
    char from[PATH_LEN_MAX + 8], to[PATH_LEN_MAX + 8];                    /* URIs */
    struct ph_stop stop;                                                  /* the shop closes */
    int ended_fd;
    struct ph_config config;
    struct ph_lane *lane;
    struct ph_demo_shop *shop;
    struct ph_demo_counts counts;
    bool terminal;
    int64_t shown_us, shown_delivered; /* of the last live line */
    struct ph_verify_result found;
};

/* --- the folder --------------------------------------------------------------------------------
 */

static int dir_empty(const char *dir, struct ph_error *err)
{
    DIR *listing = opendir(dir);
    if (!listing) {
        return ph_fail(err, PH_E_IO, "%s: %s", dir, strerrordesc_np(errno));
    }
    int others = 0;
    for (const struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) {
        others += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(listing);
    return others == 0;
}

/* Removes what an earlier demo left; only in a folder that a demo made. */
static int clear_dir(int dir_fd, const char *dir, struct ph_error *err)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (unlinkat(dir_fd, files[i], 0) != 0 && errno != ENOENT) {
            return ph_fail(err, PH_E_IO, "%s/%s: %s", dir, files[i], strerrordesc_np(errno));
        }
    }
    return 0;
}

static int prepare_dir(const struct demo *demo, struct ph_error *err)
{
    const char *dir = demo->dir;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        return ph_fail(err, PH_E_IO, "%s: %s", dir, strerrordesc_np(errno));
    }
    PH_CLEANUP(ph_cleanup_fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return ph_fail(err, PH_E_IO, "%s: %s", dir, strerrordesc_np(errno));
    }
    if (faccessat(fd, marker, F_OK, 0) == 0) {
        return clear_dir(fd, dir, err);
    }
    int empty = dir_empty(dir, err);
    if (empty <= 0) {
        return empty < 0 ? empty
                         : ph_fail(err, PH_E_USAGE,
                                   "%s holds other files: name a new folder with --dir", dir);
    }
    PH_CLEANUP(ph_cleanup_fd)
    int made = openat(fd, marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return made < 0 ? ph_fail(err, PH_E_IO, "%s/%s: %s", dir, marker, strerrordesc_np(errno)) : 0;
}

static int name_files(struct demo *demo, struct ph_error *err)
{
    if (strlen(demo->dir) + 32 > PATH_LEN_MAX) {
        return ph_fail(err, PH_E_USAGE, "--dir: the path is too long");
    }
    (void)snprintf(demo->database, sizeof demo->database, "%s/shop.db", demo->dir);
    (void)snprintf(demo->events, sizeof demo->events, "%s/events.ndjson", demo->dir);
    (void)snprintf(demo->log, sizeof demo->log, "%s/relay.log", demo->dir);
    (void)snprintf(demo->from, sizeof demo->from, "sqlite:%s", demo->database);
    (void)snprintf(demo->to, sizeof demo->to, "file:%s", demo->events);
    return 0;
}

/* --- shop and relay ----------------------------------------------------------------------------
 */

static void log_line(const char *line, void *arg)
{
    FILE *file = arg;
    (void)fprintf(file, "%s\n", line);
    (void)fflush(file);
}

static int start_relay(struct demo *demo, struct ph_error *err)
{
    const struct ph_config_args args = {.from = demo->from, .to = demo->to};
    struct ph_buf problems;
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = ph_config_load(&args, &demo->config, &problems);
    if (rc < 0) {
        rc = ph_fail(err, rc, "%s", ph_buf_text(&problems));
    } else {
        rc = ph_lane_start(demo->config.pipelines[0], demo->ended_fd, &demo->lane, err);
    }
    ph_buf_free(&problems);
    return rc;
}

static int start_all(struct demo *demo, struct ph_error *err)
{
    const struct ph_outbox_init how = {.dry_run = false};
    struct ph_buf said;
    ph_buf_init(&said, PH_CLI_PAGE_MAX);
    int rc = ph_outbox_find(demo->from)->init(demo->from, &how, &said, err);
    ph_buf_free(&said);
    if (rc == 0) {
        rc = start_relay(demo, err);
    }
    if (rc == 0) {
        rc = ph_demo_shop_start(demo->database, &demo->stop, &demo->counts, &demo->shop, err);
    }
    return rc;
}

static int64_t delivered(const struct demo *demo)
{
    const struct ph_pipeline_metrics *metrics = ph_lane_metrics(demo->lane);
    return metrics ? metrics->events_sent : 0;
}

/* --- the live line -----------------------------------------------------------------------------
 */

static void show(struct demo *demo)
{
    int64_t now = ph_clock_mono_us();
    int64_t sent = delivered(demo), published = demo->counts.events;
    double seconds = (double)(now - demo->shown_us) / 1e6;
    double rate = seconds > 0 ? (double)(sent - demo->shown_delivered) / seconds : 0;
    int64_t lag = published > sent ? published - sent : 0;
    (void)printf("%s  published %8lld   delivered %8lld   lag %6lld   %7.0f events/s%s",
                 demo->terminal ? "\r" : "", (long long)published, (long long)sent, (long long)lag,
                 rate, demo->terminal ? " " : "\n");
    (void)fflush(stdout);
    demo->shown_us = now;
    demo->shown_delivered = sent;
}

/* Until the time is over, the person wants to stop, or the relay has ended. */
static void watch(struct demo *demo)
{
    int64_t end_us = ph_clock_mono_us() + demo->seconds * 1000000;
    int step_ms = demo->terminal ? LIVE_MS : PLAIN_MS;
    demo->shown_us = ph_clock_mono_us();
    while (ph_clock_mono_us() < end_us && !ph_lane_ended(demo->lane)) {
        int64_t left_ms = (end_us - ph_clock_mono_us()) / 1000 + 1;
        if (ph_stop_wait(&demo->stop, left_ms < step_ms ? (int)left_ms : step_ms)) {
            break;
        }
        show(demo);
    }
}

/* Gives the relay time to deliver what the shop has committed. */
static void catch_up(struct demo *demo)
{
    int64_t end_us = ph_clock_mono_us() + CATCH_UP_MS * INT64_C(1000);
    while (delivered(demo) < demo->counts.events && !ph_lane_ended(demo->lane) &&
           ph_clock_mono_us() < end_us) {
        (void)ph_stop_wait(NULL, 10);
    }
    show(demo);
    (void)printf("%s", demo->terminal ? "\n" : "");
}

static int stop_all(struct demo *demo, struct ph_error *err)
{
    struct ph_error first = {0}, second = {0};
    ph_stop_request(&demo->stop);
    int rc = ph_demo_shop_join(demo->shop, &first);
    if (rc == 0 && demo->shop && demo->lane) {
        catch_up(demo);
    }
    int relay_rc = 0;
    if (demo->lane) {
        ph_lane_stop(demo->lane);
        relay_rc = ph_lane_join(demo->lane, &second);
    }
    demo->shop = NULL;
    demo->lane = NULL;
    if (rc < 0 || relay_rc < 0) {
        *err = rc < 0 ? first : second;
    }
    return rc < 0 ? rc : relay_rc;
}

/* --- the answer --------------------------------------------------------------------------------
 */

/* Whether shop, log and sink agree to the last event. */
static bool all_there(const struct demo *demo)
{
    const struct ph_verify_result *found = &demo->found;
    return found->ok && found->compare.faults[PH_FAULT_PHANTOM] == 0 && found->pending == 0 &&
           found->compare.events == demo->counts.events &&
           found->compare.records == demo->counts.events && demo->counts.events > 0;
}

static void tell(const struct demo *demo)
{
    const struct ph_demo_counts *c = &demo->counts;
    const struct ph_compare_result *found = &demo->found.compare;
    (void)printf("\n  orders placed %lld, confirmed %lld, cancelled %lld\n", (long long)c->placed,
                 (long long)c->confirmed, (long long)c->cancelled);
    (void)printf("  orders committed    %8lld   transactions, each with its two events\n",
                 (long long)c->committed);
    (void)printf(
        "  orders rolled back  %8lld   on purpose: none of their events may be delivered\n",
        (long long)c->rolled_back);
    (void)printf("  events delivered    %8lld   of %lld committed\n\n", (long long)found->records,
                 (long long)c->events);
    (void)printf("  missing %lld, duplicated %lld, out of order %lld\n",
                 (long long)found->faults[PH_FAULT_MISSING],
                 (long long)found->faults[PH_FAULT_DUPLICATED],
                 (long long)found->faults[PH_FAULT_OUT_OF_ORDER]);
    if (!all_there(demo)) {
        (void)printf("  This is not right (phantom %lld, pending %lld): please report it with %s\n",
                     (long long)found->faults[PH_FAULT_PHANTOM], (long long)demo->found.pending,
                     demo->log);
    }
}

static void tell_more(const struct demo *demo)
{
    (void)printf("\nThe files:\n"
                 "  %s   the shop's database, with its orders and its outbox\n"
                 "  %s   what was delivered, one event a line\n"
                 "  %s   what the relay said\n",
                 demo->database, demo->events, demo->log);
    (void)printf(
        "\nWith your own PostgreSQL, to Kafka:\n"
        "  posthorn init postgresql://USER@HOST/DB\n"
        "  posthorn run --from postgresql://USER@HOST/DB --to kafka://HOST:9092\n"
        "and in your application, in the transaction that changes the order:\n"
        "  SELECT posthorn.publish('order', '42', 'OrderPlaced', '{\"amountCents\": 1999}');\n");
}

/* --- the command -------------------------------------------------------------------------------
 */

static struct ph_stop *stop_of_handler;

static void on_signal(int signo)
{
    (void)signo;
    ph_stop_request(stop_of_handler);
}

/* The first signal ends the demo early, with its summary; a second one ends the program. */
static void install_signals(struct ph_stop *stop)
{
    stop_of_handler = stop;
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static int play(struct demo *demo, struct ph_error *err)
{
    (void)printf("A shop places, confirms and cancels orders for %lld s; each change and its two\n"
                 "events are one transaction in %s, and Posthorn delivers the events\n"
                 "to %s meanwhile.\n\n",
                 (long long)demo->seconds, demo->database, demo->events);
    (void)fflush(stdout);
    int rc = start_all(demo, err);
    if (rc == 0) {
        watch(demo);
    }
    struct ph_error stop_err = {0};
    int stop_rc = stop_all(demo, &stop_err);
    if (rc == 0 && stop_rc < 0) {
        *err = stop_err;
        rc = stop_rc;
    }
    if (rc == 0) {
        rc = ph_verify_run(&demo->config.pipelines[0]->pipeline, true, &demo->found, err);
    }
    return rc;
}

static int run_logged(struct demo *demo, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_stdio) FILE *log = fopen(demo->log, "we");
    if (!log) {
        return ph_fail(err, PH_E_IO, "%s: %s", demo->log, strerrordesc_np(errno));
    }
    ph_log_to(log_line, log);
    int rc = ph_stop_init(&demo->stop, err);
    demo->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && demo->ended_fd < 0) {
        rc = ph_fail(err, PH_E_IO, "eventfd: %s", strerrordesc_np(errno));
    }
    if (rc == 0) {
        install_signals(&demo->stop);
        rc = play(demo, err);
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
    }
    ph_config_free(&demo->config);
    if (demo->ended_fd >= 0) {
        (void)close(demo->ended_fd);
    }
    ph_stop_free(&demo->stop);
    ph_log_to(NULL, NULL);
    return rc;
}

static int read_words(const struct ph_cli *cli, struct demo *demo, struct ph_error *err)
{
    const char *dir = ph_cli_get(cli, "dir"), *seconds = ph_cli_get(cli, "seconds");
    demo->dir = dir && *dir ? dir : DIR_DEFAULT;
    demo->seconds = SECONDS_DEFAULT;
    if (seconds && (!ph_str_i64(ph_str_from(seconds), &demo->seconds) || demo->seconds < 1 ||
                    demo->seconds > SECONDS_MAX)) {
        return ph_fail(err, PH_E_USAGE, "--seconds %s: must be a whole number from 1 to %d",
                       seconds, SECONDS_MAX);
    }
    return name_files(demo, err);
}

static int demo_run(const struct ph_cli *cli)
{
    static struct demo demo;
    struct ph_error err = {0};
    demo = (struct demo){.ended_fd = -1, .stop.fd = -1, .terminal = isatty(STDOUT_FILENO) == 1};
    int rc = read_words(cli, &demo, &err);
    if (rc == 0) {
        rc = prepare_dir(&demo, &err);
    }
    if (rc == 0) {
        rc = run_logged(&demo, &err);
    }
    if (rc < 0) {
        return ph_cli_fail(&err);
    }
    tell(&demo);
    tell_more(&demo);
    return all_there(&demo) ? PH_EXIT_OK : PH_EXIT_FOUND;
}

static const struct ph_cli_option demo_options[] = {
    {"seconds", "N", "How long the shop is open (10).", false},
    {"dir", "D", "The folder for its files (posthorn-demo).", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_demo = {
    .name = "demo",
    .summary = "Shows it all on this machine: a shop, the relay, the proof.",
    .usage = "demo [--seconds N] [--dir D]",
    .options = demo_options,
    .details =
        "Needs no server. A shop keeps its orders in a SQLite database and publishes two events\n"
        "in each transaction, some of which it rolls back; the relay delivers the events to a\n"
        "file meanwhile. Then both are compared. Ctrl-C ends it early. Exit status 0 when nothing\n"
        "is missing, duplicated or out of order, 1 otherwise. A folder that holds other files is\n"
        "refused; one of an earlier demo is used again.",
    .run = demo_run,
};
