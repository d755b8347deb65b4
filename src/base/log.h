/*
 * The daemon's log: one line per message to stderr, logfmt or JSON, ISO 8601 UTC. Only the daemon
 * and the commands log, where the decision is taken; the library never does. Thread safe.
 */
#ifndef PH_BASE_LOG_H
#define PH_BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

enum ph_log_level { PH_LOG_DEBUG, PH_LOG_INFO, PH_LOG_WARN, PH_LOG_ERROR };
enum ph_log_format { PH_LOG_LOGFMT, PH_LOG_JSON };

/* Call before the first thread starts. Colour is used for the level only, on a terminal, unless
 * NO_COLOR is set. */
void ph_log_setup(enum ph_log_level level, enum ph_log_format format);
bool ph_log_level_parse(struct ph_str text, enum ph_log_level *out) PH_MUST_CHECK;
bool ph_log_format_parse(struct ph_str text, enum ph_log_format *out) PH_MUST_CHECK;

/* One line of at most 4 KiB, a longer one is cut: ts, level, pipeline (left out when NULL) and msg.
 * Never pass payloads, keys or secrets. */
void ph_log(enum ph_log_level level, const char *pipeline, const char *fmt, ...) PH_PRINTF(3, 4);

/* Sends lines, without the line end, to a function instead of stderr (tests); NULL restores stderr.
 * One call at a time; write_line must not log. */
void ph_log_to(void (*write_line)(const char *line, void *arg), void *arg);

#endif
