/*
 * libpq with a time limit on every wait. All statements go out asynchronously; waiting is one
 * poll() on the socket and on the stop wish, so that neither a dead network nor a slow statement
 * holds a thread longer than it was told. Promise: errors carry the server's primary message and
 * SQLSTATE but never its DETAIL (which quotes row values).
 */
#include "db/postgres.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"

int ph_pg_fail_conn(struct ph_pg *pg, struct ph_error *err)
{
    return ph_pg_fail_lost(pg->conn, err);
}

/* libpq's texts end in a newline and may hold several lines; the first says it. */
static int first_line(const char *text)
{
    return (int)strcspn(text ? text : "", "\n");
}

/* Once stop is wanted a statement that is under way has this long to end. */
#define STOP_GRACE_US (5 * 1000000LL)

static int64_t stop_deadline(struct ph_pg *pg, int64_t deadline_us)
{
    if (pg->stop && ph_stop_wanted(pg->stop)) {
        if (pg->stop_deadline_us == 0) {
            pg->stop_deadline_us = ph_clock_mono_us() + STOP_GRACE_US;
        }
        return deadline_us < pg->stop_deadline_us ? deadline_us : pg->stop_deadline_us;
    }
    return deadline_us;
}

/* 1 = the socket is ready for events, 0 = time is over, or an error. */
static int wait_socket(struct ph_pg *pg, short events, int64_t deadline_us, struct ph_error *err)
{
    for (;;) {
        bool stopping = pg->stop && ph_stop_wanted(pg->stop);
        struct pollfd fds[2] = {
            {.fd = PQsocket(pg->conn), .events = events},
            {.fd = pg->stop && !stopping ? pg->stop->fd : -1, .events = POLLIN}};
        if (fds[0].fd < 0) {
            return ph_pg_fail_conn(pg, err);
        }
        int64_t left_ms = (stop_deadline(pg, deadline_us) - ph_clock_mono_us() + 999) / 1000;
        left_ms = left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : left_ms;
        int n = poll(fds, 2, (int)left_ms);
        if (n > 0 && fds[0].revents != 0) {
            return 1;
        }
        if (left_ms == 0) {
            return 0;
        }
    }
}

/* libpq gives no SQLSTATE for a failed connection: what a person must mend is told by its words. */
static int connect_code(const char *text)
{
    static const char *const permanent[] = {"authentication failed",   "no password supplied",
                                            "no pg_hba.conf entry",    "does not exist",
                                            "not permitted to log in", "permission denied for"};
    static const char *const passing[] = {"connection to server", "could not translate host name",
                                          "could not create socket", "out of memory"};
    int code = PH_E_CONFIG; /* not even tried: the string itself is wrong */
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        code = strstr(text, passing[i]) ? PH_E_UNAVAILABLE : code;
    }
    for (size_t i = 0; i < sizeof permanent / sizeof *permanent; i++) {
        code = strstr(text, permanent[i]) ? PH_E_CONFIG : code;
    }
    return strstr(text, "No such file or directory") ? PH_E_UNAVAILABLE : code;
}

/* Whether libpq would take the text apart, and cannot. */
static bool unreadable(const char *conninfo)
{
    if (!strchr(conninfo, '=') && !strstr(conninfo, "://")) {
        return false; /* the name of a database */
    }
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    PQconninfoFree(options);
    return !options;
}

static int connect_fail(PGconn *conn, const char *conninfo, struct ph_error *err)
{
    const char *text = PQerrorMessage(conn);
    if (text && unreadable(conninfo)) { /* what is quoted may be a piece of the password */
        const char *last = strrchr(text, '"');
        const char *rest = last ? last + 1 : "";
        return ph_fail(err, PH_E_CONFIG, "cannot connect to PostgreSQL: %.*s%s%.*s",
                       (int)strcspn(text, "\"\n"), text, last ? "\"...\"" : "", first_line(rest),
                       rest);
    }
    return ph_fail(err, connect_code(text ? text : ""), "cannot connect to PostgreSQL: %.*s",
                   first_line(text), text ? text : "no memory");
}

static int connect_wait(struct ph_pg *pg, const char *conninfo, struct ph_error *err)
{
    int64_t deadline_us = ph_clock_mono_us() + pg->timeout_ms * 1000;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED || PQstatus(pg->conn) == CONNECTION_BAD) {
            return connect_fail(pg->conn, conninfo, err);
        }
        int ready =
            wait_socket(pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_us, err);
        if (ready < 0) {
            return ready;
        }
        if (pg->stop && ph_stop_wanted(pg->stop)) {
            return ph_fail(err, PH_E_STOPPED, "asked to stop while connecting");
        }
        if (ready == 0) {
            return ph_fail(err, PH_E_UNAVAILABLE, "cannot connect to PostgreSQL within %lld s",
                           (long long)(pg->timeout_ms / 1000));
        }
        state = PQconnectPoll(pg->conn);
    }
    return 0;
}

static void drop_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

int ph_pg_open(struct ph_pg *pg, const char *conninfo, const char *name, struct ph_stop *stop,
               struct ph_error *err)
{
    assert(pg && conninfo && name);
    char app[64];
    (void)snprintf(app, sizeof app, "posthorn %s", name);
    /* keep-alives and the user time-out end a half-open connection; what the caller's string says
     * wins */
    const char *const keys[] = {"fallback_application_name",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "tcp_user_timeout",
                                "client_encoding",
                                "dbname",
                                NULL};
    const char *const values[] = {app, "10", "5", "3", "30000", "UTF8", conninfo, NULL};
    *pg = (struct ph_pg){.timeout_ms = PH_PG_CONNECT_TIMEOUT_MS, .stop = stop};
    pg->stop_deadline_us = 1; /* a stop ends a connect at once */
    pg->conn = PQconnectStartParams(keys, values, 1);
    if (!pg->conn) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a PostgreSQL connection");
    }
    int rc = connect_wait(pg, conninfo, err);
    if (rc == 0 && PQsetnonblocking(pg->conn, 1) != 0) {
        rc = ph_pg_fail_conn(pg, err);
    }
    if (rc < 0) {
        ph_pg_close(pg);
        return rc;
    }
    (void)PQsetNoticeReceiver(pg->conn, drop_notice, NULL);
    pg->timeout_ms = PH_PG_TIMEOUT_MS;
    pg->stop_deadline_us = 0;
    return 0;
}

void ph_pg_close(struct ph_pg *pg)
{
    PQfinish(pg->conn);
    *pg = (struct ph_pg){0};
}

/* Pushes out what libpq still holds. Statements are small: the wait is short unless the peer is
 * gone. */
static int flush(struct ph_pg *pg, struct ph_error *err)
{
    int64_t deadline_us = ph_clock_mono_us() + pg->timeout_ms * 1000;
    int left;
    while ((left = PQflush(pg->conn)) == 1) {
        int ready = wait_socket(pg, POLLIN | POLLOUT, deadline_us, err);
        if (ready < 0) {
            return ready;
        }
        if (ready == 0) {
            return ph_fail(err, PH_E_UNAVAILABLE, "PostgreSQL takes nothing for %lld s",
                           (long long)(pg->timeout_ms / 1000));
        }
        if (PQconsumeInput(pg->conn) == 0) {
            return ph_pg_fail_conn(pg, err);
        }
    }
    return left < 0 ? ph_pg_fail_conn(pg, err) : 0;
}

int ph_pg_send(struct ph_pg *pg, const char *sql, int count, const char *const *params,
               struct ph_error *err)
{
    if (PQsendQueryParams(pg->conn, sql, count, NULL, params, NULL, NULL, 0) == 0) {
        return ph_pg_fail_conn(pg, err);
    }
    return flush(pg, err);
}

int ph_pg_send_script(struct ph_pg *pg, const char *sql, struct ph_error *err)
{
    if (PQsendQuery(pg->conn, sql) == 0) {
        return ph_pg_fail_conn(pg, err);
    }
    return flush(pg, err);
}

int ph_pg_ready(struct ph_pg *pg, struct ph_error *err)
{
    if (!PQisBusy(pg->conn)) {
        return 1;
    }
    if (PQconsumeInput(pg->conn) == 0) {
        return ph_pg_fail_conn(pg, err);
    }
    return PQisBusy(pg->conn) ? 0 : 1;
}

int ph_pg_wait(struct ph_pg *pg, int64_t timeout_ms, struct ph_error *err)
{
    int64_t limit_ms = timeout_ms < pg->timeout_ms ? timeout_ms : pg->timeout_ms;
    int64_t deadline_us = ph_clock_mono_us() + limit_ms * 1000;
    for (;;) {
        int ready = ph_pg_ready(pg, err);
        if (ready != 0) {
            return ready;
        }
        ready = wait_socket(pg, POLLIN, deadline_us, err);
        if (ready <= 0) {
            return ready;
        }
    }
}

int ph_pg_wait_input(struct ph_pg *pg, int64_t timeout_ms, struct ph_error *err)
{
    int ready = wait_socket(pg, POLLIN, ph_clock_mono_us() + timeout_ms * 1000, err);
    return ready < 0 ? ready : 0;
}

/* Waits for the next result of what was sent; NULL in *ret when there is none left. */
static int next_result(struct ph_pg *pg, PGresult **ret, struct ph_error *err)
{
    int ready = ph_pg_wait(pg, pg->timeout_ms, err);
    if (ready < 0) {
        return ready;
    }
    if (ready == 0) {
        return ph_fail(err, PH_E_UNAVAILABLE, "PostgreSQL gave no answer for %lld s",
                       (long long)(pg->timeout_ms / 1000));
    }
    *ret = PQgetResult(pg->conn);
    return 0;
}

int ph_pg_finish(struct ph_pg *pg, struct ph_error *err)
{
    for (;;) {
        PGresult *res = NULL;
        int rc = next_result(pg, &res, err);
        if (rc < 0 || !res) {
            return rc;
        }
        PQclear(res);
    }
}

static int drop_rows(struct ph_pg *pg, struct ph_error *err)
{
    for (;;) {
        char *row = NULL;
        int len = PQgetCopyData(pg->conn, &row, 1);
        PQfreemem(row);
        if (len < 0) {
            return 0; /* its end, or the error that the next result tells */
        }
        if (len > 0) {
            continue;
        }
        int ready = wait_socket(pg, POLLIN, ph_clock_mono_us() + pg->timeout_ms * 1000, err);
        if (ready < 0) {
            return ready;
        }
        if (ready == 0) {
            return ph_fail(err, PH_E_UNAVAILABLE, "a cancelled COPY did not end within %lld s",
                           (long long)(pg->timeout_ms / 1000));
        }
        if (PQconsumeInput(pg->conn) == 0) {
            return ph_pg_fail_conn(pg, err);
        }
    }
}

int ph_pg_drop_copy(struct ph_pg *pg, struct ph_error *err)
{
    int rc = drop_rows(pg, err);
    return rc < 0 ? rc : ph_pg_finish(pg, err);
}

/* Takes all results of what was sent: keeps the last one with rows, reports the first error. */
static int collect(struct ph_pg *pg, PGresult **ret, struct ph_error *err)
{
    PGresult *kept = NULL;
    int failed = 0;
    for (;;) {
        PGresult *res = NULL;
        int rc = next_result(pg, &res, err);
        if (rc < 0) {
            PQclear(kept);
            return rc;
        }
        if (!res) {
            break;
        }
        ExecStatusType status = PQresultStatus(res);
        if (status == PGRES_TUPLES_OK) {
            PQclear(kept);
            kept = res;
            continue;
        }
        bool copy =
            status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
        if (status != PGRES_COMMAND_OK && failed == 0) {
            failed = copy ? ph_fail(err, PH_E_SOFTWARE, "COPY where a statement was expected")
                          : ph_pg_fail_result(res, err);
        }
        PQclear(res);
        if (copy) {
            break;
        }
    }
    if (failed || !ret) {
        PQclear(kept);
        return failed;
    }
    *ret = kept;
    return 0;
}

int ph_pg_query(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                PGresult **ret, struct ph_error *err)
{
    int rc = ph_pg_send(pg, sql, count, params, err);
    return rc < 0 ? rc : collect(pg, ret, err);
}

int ph_pg_script(struct ph_pg *pg, const char *sql, PGresult **ret, struct ph_error *err)
{
    int rc = ph_pg_send_script(pg, sql, err);
    if (rc == 0) {
        rc = collect(pg, ret, err);
    }
    if (rc < 0 && PQtransactionStatus(pg->conn) == PQTRANS_INERROR) {
        struct ph_error ignored = {0};
        (void)!ph_pg_query(pg, "ROLLBACK", 0, NULL, NULL, &ignored);
    }
    return rc;
}

int64_t ph_pg_i64(const PGresult *res, int row, int column)
{
    int64_t value = 0;
    const char *text = ph_pg_value(res, row, column);
    if (text && !ph_str_i64(ph_str_from(text), &value)) {
        value = 0;
    }
    return value;
}

bool ph_pg_has_password(const char *conninfo)
{
    bool found = false;
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        found = found || (o->val && (strcmp(o->keyword, "password") == 0 ||
                                     strcmp(o->keyword, "sslpassword") == 0));
    }
    PQconninfoFree(options);
    return found;
}

char *ph_pg_redact(const char *conninfo)
{
    struct ph_buf text;
    ph_buf_init(&text, 8192);
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options) {
        ph_buf_puts(&text, "(a connection string that libpq cannot read)");
    }
    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        /* dispchar '*' marks what must not be shown */
        if (o->val && o->dispchar[0] != '*') {
            ph_buf_printf(&text, "%s%s=%s", text.len > 0 ? " " : "", o->keyword, o->val);
        }
    }
    PQconninfoFree(options);
    char *copy = text.failed ? NULL : ph_mem_strdup(ph_buf_text(&text));
    ph_buf_free(&text);
    return copy;
}
