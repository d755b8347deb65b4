/*
 * What PostgreSQL says of a failure, as an error by value.
 * Place: below db/postgres, and in libposthorn, which must carry no more of db than this.
 * Promise: errors carry the server's primary message and SQLSTATE but never its DETAIL (which
 * quotes row values).
 */
#include "db/pg_error.h"

#include <string.h>

struct code_row {
    const char *prefix; /* of the SQLSTATE */
    enum ph_code code;
};

/* First match wins. https://www.postgresql.org/docs/current/errcodes-appendix.html */
static const struct code_row codes[] = {
    {"08", PH_E_UNAVAILABLE},    /* connection */
    {"28", PH_E_CONFIG},         /* wrong user or password */
    {"3D", PH_E_CONFIG},         /* no such database */
    {"3F", PH_E_CONFIG},         /* no such schema */
    {"42501", PH_E_CONFIG},      /* no right */
    {"42P01", PH_E_CONFIG},      /* no such table */
    {"42883", PH_E_CONFIG},      /* no such function */
    {"42", PH_E_SOFTWARE},       /* our statement is wrong */
    {"25006", PH_E_UNAVAILABLE}, /* read-only: a standby, or a switch-over under way */
    {"22", PH_E_DATA},           {"23", PH_E_DATA},
    {"40", PH_E_UNAVAILABLE}, /* serialisation, deadlock */
    {"53", PH_E_UNAVAILABLE}, /* resources */
    {"55", PH_E_UNAVAILABLE}, /* lock not available, object in use */
    {"57", PH_E_UNAVAILABLE}, /* shutting down, starting up, cancelled */
    {"58", PH_E_UNAVAILABLE}, /* system */
    {"", PH_E_UNAVAILABLE},
};

int ph_pg_code(const char *sqlstate)
{
    const char *state = sqlstate ? sqlstate : "";
    for (size_t i = 0;; i++) {
        if (strncmp(state, codes[i].prefix, strlen(codes[i].prefix)) == 0) {
            return codes[i].code;
        }
    }
}

/* libpq's texts end in a newline and may hold several lines; the first says it. */
static int first_line(const char *text)
{
    return (int)strcspn(text ? text : "", "\n");
}

int ph_pg_fail_result(const PGresult *res, struct ph_error *err)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
    if (!primary) {
        primary = PQresultErrorMessage(res);
    }
    if (!primary || *primary == '\0') {
        primary = "the server answered out of order";
    }
    return ph_fail(err, ph_pg_code(state), "PostgreSQL: %.*s%s%s%s%s%.*s", first_line(primary),
                   primary, state ? " (SQLSTATE " : "", state ? state : "", state ? ")" : "",
                   hint ? "; " : "", first_line(hint), hint ? hint : "");
}

int ph_pg_fail_lost(const PGconn *conn, struct ph_error *err)
{
    const char *text = PQerrorMessage(conn);
    return ph_fail(err, PH_E_UNAVAILABLE, "PostgreSQL: %.*s", first_line(text),
                   text && *text ? text : "connection lost");
}
