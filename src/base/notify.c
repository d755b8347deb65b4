/*
 * The datagrams of sd_notify(3), one socket a message, so that nothing is held open in between and
 * a manager that was replaced is found again.
 * Place: called by the daemon's supervisor; the address and the watchdog are read once, at start.
 * Promise: without a manager nothing happens; with one, no call waits longer than a second.
 */
#include "base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"

#define SEND_WAIT_SECONDS 1

/* Written by ph_notify_open alone, before there is a second thread. */
static struct {
    struct sockaddr_un address;
    socklen_t address_len; /* 0: nobody to tell */
    int64_t watchdog_us;
} manager;

static int set_address(const char *name, struct ph_error *err)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2) {
        return ph_fail(err, PH_E_CONFIG, "NOTIFY_SOCKET is neither a path nor \"@name\"");
    }
    /* A path keeps its '\0'; an abstract name has one for its '@' and none behind it. */
    if (len >= sizeof manager.address.sun_path) {
        return ph_fail(err, PH_E_CONFIG, "NOTIFY_SOCKET has more than %zu bytes",
                       sizeof manager.address.sun_path - 1);
    }
    manager.address.sun_family = AF_UNIX;
    memcpy(manager.address.sun_path, name, len + 1);
    size_t used = offsetof(struct sockaddr_un, sun_path) + len;
    if (name[0] == '@') {
        manager.address.sun_path[0] = '\0';
    } else {
        used++;
    }
    manager.address_len = (socklen_t)used;
    return 0;
}

/* WATCHDOG_PID may name another process, whose variables this one only inherited. */
static int64_t watchdog_of(const char *usec, const char *pid)
{
    int64_t wanted, watched;
    if (!usec || !ph_str_i64(ph_str_from(usec), &wanted) || wanted <= 0) {
        return 0;
    }
    if (pid && (!ph_str_i64(ph_str_from(pid), &watched) || watched != getpid())) {
        return 0;
    }
    return wanted;
}

int ph_notify_open(struct ph_error *err)
{
    memset(&manager, 0, sizeof manager);
    const char *name = getenv("NOTIFY_SOCKET");
    int rc = name ? set_address(name, err) : 0;
    if (rc == 0 && name) {
        manager.watchdog_us = watchdog_of(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return rc;
}

static int fail_sending(struct ph_error *err)
{
    return ph_fail(err, PH_E_IO, "cannot tell the service manager: %s", strerror(errno));
}

static int tell(const char *message, struct ph_error *err)
{
    if (manager.address_len == 0) {
        return 0;
    }
    PH_CLEANUP(ph_cleanup_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec = SEND_WAIT_SECONDS};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0) {
        return fail_sending(err);
    }
    ssize_t sent;
    do {
        sent = sendto(fd, message, strlen(message), MSG_NOSIGNAL,
                      (const struct sockaddr *)&manager.address, manager.address_len);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? fail_sending(err) : 0;
}

int ph_notify_ready(struct ph_error *err)
{
    return tell("READY=1", err);
}

int ph_notify_reloading(struct ph_error *err)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* the manager's clock, not that of our waits */
    char message[64];
    (void)snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                   (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return tell(message, err);
}

int ph_notify_stopping(struct ph_error *err)
{
    return tell("STOPPING=1", err);
}

/* The length of what of text fits into max bytes without cutting a character. */
static size_t whole_characters(const char *text, size_t max)
{
    size_t len = strlen(text);
    if (len > max) {
        for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;) {
            len--;
        }
    }
    return len;
}

int ph_notify_status(const char *text, struct ph_error *err)
{
    char message[sizeof "STATUS=" + PH_NOTIFY_STATUS_MAX];
    int len = (int)whole_characters(text, PH_NOTIFY_STATUS_MAX);
    (void)snprintf(message, sizeof message, "STATUS=%.*s", len, text);
    for (char *at = message; *at; at++) {
        *at = *at == '\n' || *at == '\r' ? ' ' : *at;
    }
    return tell(message, err);
}

int64_t ph_notify_watchdog_us(void)
{
    return manager.watchdog_us;
}

int ph_notify_watchdog(struct ph_error *err)
{
    return tell("WATCHDOG=1", err);
}
