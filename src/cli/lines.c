/*
 * A line reader over read(2).
 * Place: in front of the NDJSON parser. Promise: holds one line and one read's worth of bytes,
 * whatever the length of the input; never reads past what it needs to give the next line.
 */
#include "cli/lines.h"

#include <errno.h>
#include <unistd.h>

#include "base/sys.h"

#define READ_SIZE ((size_t)256 * 1024)

void ph_lines_init(struct ph_lines *lines, int fd, size_t line_max)
{
    *lines = (struct ph_lines){.fd = fd, .line_max = line_max};
}

void ph_lines_free(struct ph_lines *lines)
{
    ph_mem_free(lines->bytes);
    lines->bytes = NULL;
}

/* Room for one more read: moves the unread bytes to the front, or doubles the buffer. */
static int make_room(struct ph_lines *lines, struct ph_error *err)
{
    if (lines->begin > 0) {
        memmove(lines->bytes, lines->bytes + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->size - lines->end >= READ_SIZE / 2) {
        return 0;
    }
    size_t size = lines->size ? lines->size * 2 : READ_SIZE;
    char *bytes = ph_mem_resize(lines->bytes, size);
    if (!bytes) {
        return ph_fail(err, PH_E_NOMEM, "out of memory for a line");
    }
    lines->bytes = bytes;
    lines->size = size;
    return 0;
}

static int read_more(struct ph_lines *lines, struct ph_error *err)
{
    int rc = make_room(lines, err);
    if (rc < 0) {
        return rc;
    }
    ssize_t n;
    do {
        n = read(lines->fd, lines->bytes + lines->end, lines->size - lines->end);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ph_fail(err, PH_E_IO, "cannot read: %s", strerrordesc_np(errno));
    }
    lines->ended = n == 0;
    lines->end += (size_t)n;
    return 0;
}

static struct ph_str take(struct ph_lines *lines, size_t len, size_t skip)
{
    struct ph_str line = {lines->bytes + lines->begin, len};
    lines->begin += len + skip;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

int ph_lines_next(struct ph_lines *lines, struct ph_str *out, struct ph_error *err)
{
    size_t looked = 0;
    for (;;) {
        size_t have = lines->end - lines->begin;
        const char *end = have > looked
                              ? memchr(lines->bytes + lines->begin + looked, '\n', have - looked)
                              : NULL;
        size_t len = end ? (size_t)(end - lines->bytes) - lines->begin : have;
        if (len > lines->line_max) {
            lines->number++;
            return ph_fail(err, PH_E_DATA, "the line is longer than %zu bytes", lines->line_max);
        }
        if (end || (lines->ended && have > 0)) {
            lines->number++;
            *out = take(lines, len, end ? 1 : 0);
            return 1;
        }
        if (lines->ended) {
            return 0;
        }
        looked = have;
        int rc = read_more(lines, err);
        if (rc < 0) {
            return rc;
        }
    }
}
