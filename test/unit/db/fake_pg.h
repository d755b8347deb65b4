/*
 * A PostgreSQL server that says what a test tells it to: one thread, one connection at a time, no
 * SQL. It greets, records every statement, and answers each with canned messages.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
#ifndef PH_TEST_FAKE_PG_H
#define PH_TEST_FAKE_PG_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/thread.h"

#define FAKE_ANSWERS_MAX 8

struct fake_pg {
    int listener, port;
    pthread_t thread;
    struct ph_stop stop;
    bool silent;                             /* takes connections and says nothing */
    bool hang_up;                            /* ends the connection behind the last answer */
    struct ph_buf refusal;                   /* instead of a greeting; empty: it greets */
    struct ph_buf answers[FAKE_ANSWERS_MAX]; /* to the first, second, ... statement */
    int answer_count;
    _Atomic int asked; /* statements seen */
    pthread_mutex_t mutex;
    struct ph_buf startup; /* the last startup packet's body */
    struct ph_buf log;     /* statements, a line each; under mutex */
};

/* Appends a message of the protocol: type, length, body. */
static inline void fake_put(struct ph_buf *buf, char type, const void *body, size_t len)
{
    uint32_t size = htonl((uint32_t)len + 4);
    ph_buf_putc(buf, type);
    ph_buf_put(buf, &size, sizeof size);
    ph_buf_put(buf, body, len);
}

/* ReadyForQuery; state is I, T or E. */
static inline void fake_put_ready(struct ph_buf *buf, char state)
{
    fake_put(buf, 'Z', &state, 1);
}

static inline void fake_put_done(struct ph_buf *buf, const char *tag)
{
    fake_put(buf, 'C', tag, strlen(tag) + 1);
}

/* An ErrorResponse from "<letter><text>" fields. */
static inline void fake_put_error(struct ph_buf *buf, const char *const *fields)
{
    struct ph_buf body;
    ph_buf_init(&body, 65536);
    for (; *fields; fields++) {
        ph_buf_put(&body, *fields, strlen(*fields) + 1);
    }
    ph_buf_putc(&body, '\0');
    fake_put(buf, 'E', body.ptr, body.len);
    ph_buf_free(&body);
}

static inline void fake_put16(struct ph_buf *buf, uint16_t value)
{
    value = htons(value);
    ph_buf_put(buf, &value, sizeof value);
}

static inline void fake_put32(struct ph_buf *buf, uint32_t value)
{
    value = htonl(value);
    ph_buf_put(buf, &value, sizeof value);
}

/* RowDescription and one DataRow of text columns; NULL = SQL NULL. */
static inline void fake_put_row(struct ph_buf *buf, const char *const *values, uint16_t count)
{
    struct ph_buf body;
    ph_buf_init(&body, 65536);
    fake_put16(&body, count);
    for (uint16_t i = 0; i < count; i++) {
        ph_buf_put(&body, "column", 7);
        fake_put32(&body, 0);
        fake_put16(&body, 0);
        fake_put32(&body, 25); /* text */
        fake_put16(&body, 0xFFFF);
        fake_put32(&body, 0xFFFFFFFF);
        fake_put16(&body, 0);
    }
    fake_put(buf, 'T', body.ptr, body.len);
    ph_buf_clear(&body);
    fake_put16(&body, count);
    for (uint16_t i = 0; i < count; i++) {
        fake_put32(&body, values[i] ? (uint32_t)strlen(values[i]) : 0xFFFFFFFF);
        ph_buf_puts(&body, values[i] ? values[i] : "");
    }
    fake_put(buf, 'D', body.ptr, body.len);
    ph_buf_free(&body);
}

/* Waits until the socket is readable; false when the server is to stop. */
static inline bool fake_wait(struct fake_pg *fake, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = fake->stop.fd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0) {
    }
    return fds[1].revents == 0;
}

static inline bool fake_read(struct fake_pg *fake, int fd, void *out, size_t len)
{
    size_t got = 0;
    while (got < len) {
        if (!fake_wait(fake, fd)) {
            return false;
        }
        ssize_t n = recv(fd, (char *)out + got, len - got, 0);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

static inline bool fake_send(int fd, struct ph_str bytes)
{
    return bytes.len == 0 || send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL) == (ssize_t)bytes.len;
}

/* Reads the length and the rest of a message. */
static inline bool fake_body(struct fake_pg *fake, int fd, char *body, uint32_t size, uint32_t *len)
{
    if (!fake_read(fake, fd, len, sizeof *len)) {
        return false;
    }
    *len = ntohl(*len) - 4;
    return *len < size && fake_read(fake, fd, body, *len);
}

/* The startup packet, behind refusals of TLS and GSS. */
static inline bool fake_greet(struct fake_pg *fake, int fd, char *body, uint32_t size)
{
    uint32_t len, code;
    for (;;) {
        if (!fake_body(fake, fd, body, size, &len) || len < 4) {
            return false;
        }
        memcpy(&code, body, sizeof code);
        if (ntohl(code) != 80877103 && ntohl(code) != 80877104) {
            break;
        }
        if (!fake_send(fd, PH_STR("N"))) {
            return false;
        }
    }
    (void)pthread_mutex_lock(&fake->mutex);
    ph_buf_clear(&fake->startup);
    ph_buf_put(&fake->startup, body, len);
    (void)pthread_mutex_unlock(&fake->mutex);
    if (fake->refusal.len > 0) {
        (void)fake_send(fd, ph_buf_str(&fake->refusal));
        return false;
    }
    struct ph_buf hello;
    ph_buf_init(&hello, 1024);
    fake_put(&hello, 'R', "\0\0\0\0", 4);
    fake_put(&hello, 'S', "client_encoding\0UTF8", 21);
    fake_put(&hello, 'S', "server_version\00015.0", 20);
    fake_put(&hello, 'K', "\0\0\0\1\0\0\0\2", 8);
    fake_put_ready(&hello, 'I');
    bool sent = fake_send(fd, ph_buf_str(&hello));
    ph_buf_free(&hello);
    return sent;
}

/* Notes a statement; for the extended protocol its text comes with Parse. */
static inline void fake_note(struct fake_pg *fake, char type, const char *body)
{
    if (type == 'Q' || type == 'P') {
        (void)pthread_mutex_lock(&fake->mutex);
        ph_buf_puts(&fake->log, type == 'Q' ? body : body + strlen(body) + 1);
        ph_buf_putc(&fake->log, '\n');
        (void)pthread_mutex_unlock(&fake->mutex);
    }
}

static inline void fake_talk(struct fake_pg *fake, int fd)
{
    static char body[65536];
    char type;
    uint32_t len;
    if (!fake_greet(fake, fd, body, sizeof body)) {
        return;
    }
    while (fake_read(fake, fd, &type, 1) && fake_body(fake, fd, body, sizeof body, &len)) {
        body[len] = '\0';
        fake_note(fake, type, body);
        if (type == 'X') {
            return;
        }
        if (type == 'Q' || type == 'S') {
            int n = fake->asked++;
            if (n < fake->answer_count && !fake_send(fd, ph_buf_str(&fake->answers[n]))) {
                return;
            }
            if (fake->hang_up && n + 1 >= fake->answer_count) {
                return;
            }
        }
    }
}

static inline void *fake_serve(void *arg)
{
    struct fake_pg *fake = arg;
    while (fake_wait(fake, fake->listener)) {
        int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        if (fake->silent) {
            (void)fake_wait(fake, -1);
        } else {
            fake_talk(fake, fd);
        }
        (void)close(fd);
    }
    return NULL;
}

/* A free port of this machine with somebody listening. */
static inline int fake_listen(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* Before fake_start: what it answers to the next statement. */
static inline struct ph_buf *fake_answer(struct fake_pg *fake)
{
    assert_true(fake->answer_count < FAKE_ANSWERS_MAX);
    struct ph_buf *buf = &fake->answers[fake->answer_count++];
    ph_buf_init(buf, 65536);
    return buf;
}

static inline void fake_start(struct fake_pg *fake)
{
    fake->listener = fake_listen(&fake->port);
    ph_buf_init(&fake->startup, 65536);
    ph_buf_init(&fake->log, 65536);
    (void)pthread_mutex_init(&fake->mutex, NULL);
    assert_int_equal(ph_stop_init(&fake->stop, NULL), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_serve, fake), 0);
}

static inline void fake_end(struct fake_pg *fake)
{
    ph_stop_request(&fake->stop);
    (void)pthread_join(fake->thread, NULL);
    (void)close(fake->listener);
    ph_stop_free(&fake->stop);
    (void)pthread_mutex_destroy(&fake->mutex);
    for (int i = 0; i < fake->answer_count; i++) {
        ph_buf_free(&fake->answers[i]);
    }
    ph_buf_free(&fake->refusal);
    ph_buf_free(&fake->startup);
    ph_buf_free(&fake->log);
}

/* What was asked so far, once at least count statements were; waits for them. */
static inline bool fake_saw(struct fake_pg *fake, int count, const char *text)
{
    for (int i = 0; i < 5000 && fake->asked < count; i++) {
        (void)ph_stop_wait(NULL, 1);
    }
    (void)pthread_mutex_lock(&fake->mutex);
    bool found = strstr(ph_buf_text(&fake->log), text) != NULL;
    (void)pthread_mutex_unlock(&fake->mutex);
    return found;
}

#endif
