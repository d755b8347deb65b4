/* Lines of a file or a pipe, read as they come, with a bound on their length. */
#ifndef PH_CLI_LINES_H
#define PH_CLI_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct ph_lines {
    int fd;
    char *bytes;
    size_t size, begin, end; /* room; the unread bytes are [begin, end) */
    size_t line_max;
    int64_t number; /* of the line that next gave last; the first is 1 */
    bool ended;
};

/* fd stays the caller's. */
void ph_lines_init(struct ph_lines *lines, int fd, size_t line_max);
void ph_lines_free(struct ph_lines *lines);
/* 1 and the next line without its end, valid until the next call; 0 at the end of the input.
 * PH_E_DATA for a line over line_max, PH_E_IO, PH_E_NOMEM. */
int ph_lines_next(struct ph_lines *lines, struct ph_str *out, struct ph_error *err) PH_MUST_CHECK;

#endif
