/*
 * Errors by value: an int status (0 or negative) tells that a call failed, a caller-owned
 * struct ph_error tells why. One table of codes gives the name, the class and the exit status.
 */
#ifndef PH_BASE_ERR_H
#define PH_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define PH_MUST_CHECK        __attribute__((warn_unused_result))
#define PH_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* What a caller may do about an error. */
enum ph_class {
    PH_RETRIABLE, /* the same call may succeed later: a lost connection, a full disk */
    PH_PERMANENT, /* the same call fails again until a person changes something */
    PH_FATAL,     /* this instance must stop what it does: another owner, a broken promise */
};

/* code, value, class, exit status of the command, what it means in words */
#define PH_ERROR_MAP(X)                                                             \
    X(USAGE, 1, PH_PERMANENT, 64, "wrong use of the command")                       \
    X(DATA, 2, PH_PERMANENT, 65, "bad data")                                        \
    X(UNAVAILABLE, 3, PH_RETRIABLE, 69, "service unavailable")                      \
    X(SOFTWARE, 4, PH_PERMANENT, 70, "internal error")                              \
    X(NOMEM, 5, PH_RETRIABLE, 71, "out of memory or over a bound")                  \
    X(IO, 6, PH_RETRIABLE, 74, "input or output failed")                            \
    X(CONFIG, 7, PH_PERMANENT, 78, "configuration refused")                         \
    X(REFUSED, 8, PH_PERMANENT, 65, "an event was refused")                         \
    X(FENCED, 9, PH_FATAL, 69, "another instance owns this pipeline")               \
    X(DIVERGED, 10, PH_FATAL, 78, "log and checkpoint do not belong to each other") \
    X(STOPPED, 11, PH_PERMANENT, 0, "asked to stop")                                \
    X(STANDBY, 12, PH_RETRIABLE, 69, "this server is a standby")

enum ph_code {
#define PH_ERROR_ENUM(name, value, class, exit_status, text) PH_E_##name = -(value),
    PH_ERROR_MAP(PH_ERROR_ENUM)
#undef PH_ERROR_ENUM
};

#define PH_ERROR_TEXT_MAX 1024

/* Owned by the caller; zero-initialise it. Holds the cause in one sentence, without payloads,
 * keys or passwords. */
struct ph_error {
    int code; /* 0 or one of enum ph_code */
    char text[PH_ERROR_TEXT_MAX];
};

/* Stores code and text in err (which may be NULL) and returns code, so that a failing function
 * can end with `return ph_fail(err, PH_E_DATA, ...)`. A longer text is cut. */
int ph_fail(struct ph_error *err, int code, const char *fmt, ...) PH_PRINTF(3, 4);

/* Puts "prefix: " in front of the text of err and returns its code. err may be NULL; then there is
 * no code to return and it is PH_E_SOFTWARE, so prefer `ph_fail_prefix(err, ...); return rc;`. */
int ph_fail_prefix(struct ph_error *err, const char *fmt, ...) PH_PRINTF(2, 3);

/* Forgets what err held. */
void ph_error_clear(struct ph_error *err);

/* "UNAVAILABLE" for PH_E_UNAVAILABLE, "OK" for 0, "UNKNOWN" for anything else. Never NULL. */
const char *ph_code_name(int code);
/* The class of a negative code; PH_FATAL for an unknown one. */
enum ph_class ph_code_class(int code);
/* The exit status of the command for a code; 0 for 0, 70 for an unknown one. */
int ph_code_exit(int code);

#endif
