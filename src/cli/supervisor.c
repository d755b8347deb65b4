/*
 * The daemon's main thread: signals in, lanes started and stopped. It does no I/O of a pipeline, so
 * nothing that happens to one can hold it up.
 * Place: between `run` and the lanes.
 * Promise: a configuration with a mistake changes nothing; a pipeline that ends with an error is
 * tried again while the others run; at a stop every pipeline gets its drain_timeout.
 */
#include "cli/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/sys.h"
#include "cli/lane.h"
#include "core/retry.h"

#define RESTART_INITIAL_MS 1000
#define RESTART_MAX_MS     60000
#define HEALTHY_US         (120 * INT64_C(1000000)) /* of running: what ended it is a new trouble */

/* The place of one pipeline, by name. */
struct slot {
    struct ph_settings *wanted;  /* what it should run; NULL: it is to go. Owned */
    struct ph_settings *running; /* what its lane runs; the same object as wanted, or owned */
    struct ph_lane *lane;        /* NULL when none runs */
    int64_t started_us, due_us;  /* of the lane; when to start the next one */
    struct ph_backoff backoff;
    bool over; /* it ended and is not to be started again */
};

struct supervisor {
    const struct ph_supervisor_config *config;
    struct slot slots[2 * PH_CONFIG_PIPELINES_MAX]; /* those that go beside those that come */
    size_t count;
    int signal_fd, ended_fd;
    bool stopping, disabled;
    int rc; /* the first error of a pipeline that was not started again */
    int64_t watchdog_due_us;
};

/* What the service manager could not be told is said in the log instead; nothing depends on it. */
static void tell(int (*say)(struct ph_error *err))
{
    struct ph_error err = {0};
    if (say(&err) < 0) {
        ph_log(PH_LOG_WARN, NULL, "the service manager was not told: %s", err.text);
    }
}

static void settings_drop(struct ph_settings *settings)
{
    if (settings) {
        ph_settings_free(settings);
        ph_mem_free(settings);
    }
}

/* --- one slot ----------------------------------------------------------------------------------
 */

/* "" for one that is to go and runs nothing: the next turn takes it out. */
static const char *slot_name(const struct slot *slot)
{
    const struct ph_settings *settings = slot->wanted ? slot->wanted : slot->running;
    return settings ? settings->name : "";
}

/* It is not started again; the first error of all is the program's answer. */
static void slot_over(struct supervisor *s, struct slot *slot, int rc)
{
    slot->over = true;
    s->rc = s->rc == 0 && rc < 0 ? rc : s->rc;
}

static void slot_start(struct supervisor *s, struct slot *slot)
{
    struct ph_error err = {0};
    slot->running = slot->wanted;
    slot->started_us = ph_clock_mono_us();
    int rc = ph_lane_start(slot->running, s->ended_fd, &slot->lane, &err);
    if (rc == 0) {
        return;
    }
    slot->running = NULL;
    ph_log(PH_LOG_ERROR, slot_name(slot), "cannot be started%s: %s",
           s->config->keep ? ", trying again" : "", err.text);
    if (!s->config->keep) {
        slot_over(s, slot, rc);
        return;
    }
    slot->due_us = slot->started_us + ph_backoff_next(&slot->backoff) * 1000;
}

/* What to do with a pipeline that ended by itself: again later, or never. */
static void slot_judge(struct supervisor *s, struct slot *slot, int rc)
{
    if (!s->config->keep) {
        slot_over(s, slot, rc);
        return;
    }
    int64_t now = ph_clock_mono_us();
    if (now - slot->started_us > HEALTHY_US) {
        ph_backoff_reset(&slot->backoff);
    }
    int64_t wait_ms = ph_backoff_next(&slot->backoff);
    slot->due_us = now + wait_ms * 1000;
    ph_log(PH_LOG_WARN, slot_name(slot), "ended; starting it again in %lld.%03lld s",
           (long long)wait_ms / 1000, (long long)wait_ms % 1000);
}

static void slot_join(struct supervisor *s, struct slot *slot)
{
    struct ph_error err = {0};
    int rc = ph_lane_join(slot->lane, &err); /* which the lane has logged */
    slot->lane = NULL;
    if (slot->running != slot->wanted) {
        settings_drop(slot->running); /* changed or removed meanwhile: the new one starts at once */
        slot->due_us = 0;
        ph_backoff_reset(&slot->backoff);
    } else if (!s->stopping) {
        slot_judge(s, slot, rc);
    }
    slot->running = NULL;
}

static void slot_free(struct slot *slot)
{
    assert(!slot->lane);
    settings_drop(slot->wanted);
    *slot = (struct slot){0};
}

/* Moves each slot as far as it goes without waiting. */
static void turn(struct supervisor *s)
{
    for (size_t i = 0; i < s->count;) {
        struct slot *slot = &s->slots[i];
        if (slot->lane && ph_lane_ended(slot->lane)) {
            slot_join(s, slot);
        }
        if (!slot->lane && !slot->wanted) {
            *slot = s->slots[--s->count];
            continue;
        }
        if (!slot->lane && !slot->over && !s->stopping && ph_clock_mono_us() >= slot->due_us) {
            slot_start(s, slot);
        }
        i++;
    }
}

/* --- the configuration -------------------------------------------------------------------------
 */

static struct slot *find_slot(struct supervisor *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(slot_name(&s->slots[i]), name) == 0) {
            return &s->slots[i];
        }
    }
    return NULL;
}

static void slot_want(struct slot *slot, struct ph_settings *settings)
{
    if (slot->wanted != slot->running) {
        settings_drop(slot->wanted);
    }
    slot->wanted = settings;
    slot->over = false;
    slot->due_us = 0;
    if (slot->lane) {
        ph_log(PH_LOG_INFO, slot->running->name,
               settings ? "its configuration changed: restarting" : "removed: stopping");
        ph_lane_stop(slot->lane);
    }
}

static void take_one(struct supervisor *s, struct ph_settings *settings)
{
    struct slot *slot = find_slot(s, settings->name);
    if (!slot && s->count == sizeof s->slots / sizeof *s->slots) {
        ph_log(PH_LOG_ERROR, settings->name,
               "not started: too many pipelines are still stopping; reload again later");
        settings_drop(settings);
    } else if (!slot) {
        slot = &s->slots[s->count++];
        *slot =
            (struct slot){.backoff = {.initial_ms = RESTART_INITIAL_MS, .max_ms = RESTART_MAX_MS}};
        slot->wanted = settings;
    } else if (slot->wanted && ph_settings_same(slot->wanted, settings)) {
        settings_drop(settings);
    } else {
        slot_want(slot, settings);
    }
}

static bool config_names(const struct ph_config *config, const char *name)
{
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->pipelines[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Makes the slots want what config says, and takes its settings over. */
static void take_config(struct supervisor *s, struct ph_config *config)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->slots[i].wanted && !config_names(config, slot_name(&s->slots[i]))) {
            slot_want(&s->slots[i], NULL);
        }
    }
    for (size_t i = 0; i < config->count; i++) {
        take_one(s, config->pipelines[i]);
        config->pipelines[i] = NULL;
    }
    config->count = 0;
}

static int load(struct supervisor *s, struct ph_buf *problems)
{
    struct ph_config config = {.count = 0};
    int rc = s->config->load(s->config->load_arg, &config, problems);
    s->disabled = rc == 0 && config.disabled;
    if (rc == 0 && !config.disabled) {
        take_config(s, &config);
    }
    ph_config_free(&config);
    return rc;
}

static void log_lines(const char *lines)
{
    while (*lines) {
        int len = (int)strcspn(lines, "\n");
        ph_log(PH_LOG_ERROR, NULL, "%.*s", len, lines);
        lines += len + (lines[len] == '\n');
    }
}

static void reload(struct supervisor *s)
{
    struct ph_buf problems;
    ph_buf_init(&problems, (size_t)1 << 20);
    tell(ph_notify_reloading);
    if (load(s, &problems) < 0) {
        log_lines(ph_buf_text(&problems));
        if (problems.failed) {
            log_lines("there are more mistakes than can be shown here");
        }
        ph_log(PH_LOG_ERROR, NULL, "the configuration has mistakes: going on with the old one");
    } else {
        ph_log(PH_LOG_INFO, NULL, "the configuration was read again");
    }
    tell(ph_notify_ready);
    ph_buf_free(&problems);
}

/* --- signals and waiting -----------------------------------------------------------------------
 */

static void stop_all(struct supervisor *s)
{
    s->stopping = true;
    tell(ph_notify_stopping);
    for (size_t i = 0; i < s->count; i++) {
        if (s->slots[i].lane) {
            ph_lane_stop(s->slots[i].lane);
        }
    }
}

static void on_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGHUP && s->stopping) {
            _exit(128 + (int)info.ssi_signo);
        }
        if (info.ssi_signo != SIGHUP) {
            stop_all(s);
        } else if (!s->stopping) {
            reload(s);
        }
    }
}

static int block_signals(struct supervisor *s, struct ph_error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return ph_fail(err, PH_E_SOFTWARE, "cannot block signals");
    }
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->signal_fd < 0 || s->ended_fd < 0) {
        return ph_fail(err, PH_E_IO, "signalfd or eventfd: %s", strerrordesc_np(errno));
    }
    return 0;
}

static void feed_watchdog(struct supervisor *s)
{
    int64_t period_us = ph_notify_watchdog_us();
    int64_t now = ph_clock_mono_us();
    if (period_us > 0 && now >= s->watchdog_due_us) {
        tell(ph_notify_watchdog);
        s->watchdog_due_us = now + period_us / 2;
    }
}

/* Until the next start is due, or the watchdog wants to hear of us; -1 without an end. */
static int wait_ms(const struct supervisor *s)
{
    int64_t now = ph_clock_mono_us();
    int64_t until = ph_notify_watchdog_us() > 0 ? s->watchdog_due_us : INT64_MAX;
    for (size_t i = 0; i < s->count; i++) {
        const struct slot *slot = &s->slots[i];
        if (!slot->lane && !slot->over && !s->stopping && slot->due_us < until) {
            until = slot->due_us;
        }
    }
    if (until == INT64_MAX) {
        return -1;
    }
    return until <= now ? 0 : (int)((until - now) / 1000 + 1);
}

static bool all_over(const struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->slots[i].lane || !(s->slots[i].over || s->stopping)) {
            return false;
        }
    }
    return true;
}

static void supervise(struct supervisor *s)
{
    for (;;) {
        turn(s);
        if (all_over(s)) {
            return;
        }
        feed_watchdog(s);
        struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                               {.fd = s->ended_fd, .events = POLLIN}};
        (void)poll(fds, 2, wait_ms(s));
        uint64_t ended;
        ssize_t got = read(s->ended_fd, &ended, sizeof ended);
        (void)got; /* turn() looks at every lane anyway */
        on_signals(s);
    }
}

int ph_supervisor_run(const struct ph_supervisor_config *config, struct ph_buf *problems,
                      struct ph_error *err)
{
    static struct supervisor s;
    s = (struct supervisor){.config = config, .signal_fd = -1, .ended_fd = -1};
    int rc = block_signals(&s, err);
    if (rc == 0) {
        rc = ph_notify_open(err);
    }
    if (rc == 0) {
        rc = load(&s, problems);
    }
    if (rc == 0 && s.disabled) {
        ph_log(PH_LOG_INFO, NULL, "OUTBOX_ENABLED is false: nothing is started");
    } else if (rc == 0) {
        turn(&s);
        tell(ph_notify_ready);
        supervise(&s);
        rc = s.rc;
    }
    for (size_t i = 0; i < s.count; i++) {
        slot_free(&s.slots[i]);
    }
    if (s.signal_fd >= 0) {
        (void)close(s.signal_fd);
    }
    if (s.ended_fd >= 0) {
        (void)close(s.ended_fd);
    }
    return rc;
}
