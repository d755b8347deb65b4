/*
 * The table of failpoints, and how the environment arms them. Place: below everything, asked by the
 * macros of failpoint.h alone. Promise: an armed point kills at exactly its N-th hit, whatever
 * threads come by, and what the log file says was written before (a write survives SIGKILL).
 */
#include "base/failpoint.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define HITS_MAX 1000000000

enum kind { POINT, DEFENCE };

struct failpoint {
    const char *name;
    enum kind kind;
    int64_t kill_at; /* 0: never */
    bool off;
    atomic_long hits;
};

static struct failpoint points[] = {
    {.name = "lease.claim.before"},      /* the lease is asked for */
    {.name = "lease.claim.after"},       /* it was given */
    {.name = "tick.before"},             /* a tick of our own is asked for */
    {.name = "tick.after"},              /* it is stored */
    {.name = "kafka.produce.before"},    /* an event goes to librdkafka */
    {.name = "kafka.produce.after"},     /* reports of events were taken */
    {.name = "kafka.checkpoint.before"}, /* the checkpoint record goes into the transaction */
    {.name = "kafka.checkpoint.after"},
    {.name = "kafka.commit.before"}, /* the transaction is to be committed */
    {.name = "kafka.commit.after"},
    {.name = "checkpoint.before"},              /* the source is asked to store the checkpoint */
    {.name = "checkpoint.after"},               /* it has */
    {.name = "park.before"},                    /* changes of parked rows are asked for */
    {.name = "park.after"},                     /* they are stored */
    {.name = "kafka.hygiene", .kind = DEFENCE}, /* a new epoch behind a doubtful commit */
};

static int log_fd = -1;

static struct failpoint *find(struct ph_str name)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        if (ph_str_is(name, points[i].name)) {
            return &points[i];
        }
    }
    return NULL;
}

/* Takes what is in front of the separator off text; all of it when there is none. */
static struct ph_str split(struct ph_str *text, char separator, bool *found)
{
    const char *at = text->len > 0 ? memchr(text->ptr, separator, text->len) : NULL;
    struct ph_str head = {text->ptr, at ? (size_t)(at - text->ptr) : text->len};
    size_t taken = head.len + (at ? 1 : 0);
    *text = (struct ph_str){text->ptr + taken, text->len - taken};
    *found = at != NULL;
    return head;
}

static int wrong(struct ph_str entry, const char *why, struct ph_error *err)
{
    return ph_fail(err, PH_E_CONFIG, "POSTHORN_FAILPOINTS: %.*s: %s", PH_STR_ARG(entry), why);
}

static int arm_one(struct ph_str entry, struct ph_error *err)
{
    bool has_action, has_count;
    struct ph_str count = entry;
    struct ph_str name = split(&count, '=', &has_action);
    struct ph_str action = split(&count, '@', &has_count);
    struct failpoint *point = find(name);
    if (!point) {
        return wrong(entry, "there is no such failpoint", err);
    }
    if (!has_action) {
        return wrong(entry, "must be NAME=kill, NAME=kill@N or NAME=off", err);
    }
    if (point->kind == DEFENCE) {
        point->off = ph_str_is(action, "off") && !has_count;
        return point->off ? 0 : wrong(entry, "a defence can only be off", err);
    }
    int64_t kill_at = 1;
    if (!ph_str_is(action, "kill")) {
        return wrong(entry, "a point can only kill", err);
    }
    if (has_count && (!ph_str_i64(count, &kill_at) || kill_at < 1 || kill_at > HITS_MAX)) {
        return wrong(entry, "behind @ stands the hit that kills, a number from 1", err);
    }
    point->kill_at = kill_at;
    return 0;
}

int ph_failpoint_arm(const char *text, struct ph_error *err)
{
    struct ph_str rest = ph_str_from(text);
    bool more = rest.len > 0;
    int rc = 0;
    while (more && rc == 0) {
        rc = arm_one(split(&rest, ',', &more), err);
    }
    return rc;
}

int ph_failpoint_log(const char *path, struct ph_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ph_fail(err, PH_E_CONFIG, "POSTHORN_FAILPOINTS_LOG: %s: errno %d", path, errno);
    }
    if (log_fd >= 0) {
        (void)close(log_fd);
    }
    log_fd = fd;
    return 0;
}

int ph_failpoint_setup(struct ph_error *err)
{
    const char *path = getenv("POSTHORN_FAILPOINTS_LOG");
    int rc = path && *path ? ph_failpoint_log(path, err) : 0;
    return rc < 0 ? rc : ph_failpoint_arm(getenv("POSTHORN_FAILPOINTS"), err);
}

/* One write, so that lines of several threads and instances do not mix. */
static void tell(const struct failpoint *point, bool kills)
{
    char line[128];
    int len = kills ? snprintf(line, sizeof line, "%s=kill@%lld\n", point->name,
                               (long long)point->kill_at)
                    : snprintf(line, sizeof line, "%s\n", point->name);
    if (log_fd >= 0) {
        (void)!write(log_fd, line, (size_t)len);
    }
}

void ph_failpoint_hit(const char *name)
{
    struct failpoint *point = find(ph_str_from(name));
    assert(point && point->kind == POINT);
    long hit = atomic_fetch_add(&point->hits, 1) + 1;
    if (hit == 1) {
        tell(point, false);
    }
    if (hit == point->kill_at) {
        tell(point, true);
        (void)raise(SIGKILL);
    }
}

bool ph_failpoint_off(const char *name)
{
    const struct failpoint *point = find(ph_str_from(name));
    assert(point && point->kind == DEFENCE);
    return point->off;
}
