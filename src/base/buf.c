/*
 * The growing byte buffer behind every text the program writes. It doubles up to its cap; the '\0'
 * behind the text is kept in addition to the cap. Promise: a put happens whole or not at all, and
 * after the first that cannot happen the buffer says so until it is cleared.
 */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/sys.h"

#define FIRST_BYTES ((size_t)64)
#define DIGITS_MAX  20 /* of UINT64_MAX, and of INT64_MIN with its sign */

void ph_buf_init(struct ph_buf *buf, size_t cap)
{
    assert(buf && cap < PTRDIFF_MAX);
    *buf = (struct ph_buf){.cap = cap};
}

void ph_buf_free(struct ph_buf *buf)
{
    if (buf) {
        ph_mem_free(buf->ptr);
        ph_buf_init(buf, buf->cap);
    }
}

void ph_buf_clear(struct ph_buf *buf)
{
    assert(buf);
    buf->len = 0;
    buf->failed = false;
    if (buf->ptr) {
        buf->ptr[0] = '\0';
    }
}

bool ph__buf_grow(struct ph_buf *buf, size_t len)
{
    assert(buf && buf->len <= buf->cap);
    if (buf->failed || len > buf->cap - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + len + 1;
    if (need <= buf->size) {
        return true;
    }
    size_t size = buf->size < FIRST_BYTES / 2 ? FIRST_BYTES : buf->size * 2;
    size = size < need ? need : size;
    size = size > buf->cap + 1 ? buf->cap + 1 : size;
    char *ptr = ph_mem_resize(buf->ptr, size);
    if (!ptr) {
        buf->failed = true;
        return false;
    }
    buf->ptr = ptr;
    buf->size = size;
    buf->ptr[buf->len] = '\0';
    return true;
}

void ph_buf_puts(struct ph_buf *buf, const char *text)
{
    assert(text);
    ph_buf_put(buf, text, strlen(text));
}

void ph_buf_put_str(struct ph_buf *buf, struct ph_str s)
{
    ph_buf_put(buf, s.ptr, s.len);
}

/* Writes the digits of value so that they end before end; returns the first. */
static char *digits_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

void ph_buf_put_u64(struct ph_buf *buf, uint64_t value)
{
    char text[DIGITS_MAX];
    char *end = text + sizeof text;
    const char *first = digits_before(end, value);
    ph_buf_put(buf, first, (size_t)(end - first));
}

void ph_buf_put_i64(struct ph_buf *buf, int64_t value)
{
    char text[DIGITS_MAX];
    char *end = text + sizeof text;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *first = digits_before(end, magnitude);
    if (value < 0) {
        *--first = '-';
    }
    ph_buf_put(buf, first, (size_t)(end - first));
}

/* vsnprintf into the free room; the length the text needs, or -1. */
__attribute__((format(printf, 2, 0))) static int format_into(struct ph_buf *buf, const char *fmt,
                                                             va_list args)
{
    char none;
    size_t room = buf->size - buf->len;
    return vsnprintf(room > 0 ? buf->ptr + buf->len : &none, room, fmt, args);
}

void ph_buf_printf(struct ph_buf *buf, const char *fmt, ...)
{
    assert(buf && fmt);
    if (buf->failed) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int need = format_into(buf, fmt, args);
    bool fits = need >= 0 && (size_t)need < buf->size - buf->len;
    if (!fits && need >= 0 && ph__buf_grow(buf, (size_t)need)) {
        fits = format_into(buf, fmt, again) == need;
    }
    va_end(again);
    va_end(args);
    if (fits) {
        buf->len += (size_t)need;
    } else {
        buf->failed = true;
        if (buf->ptr) {
            buf->ptr[buf->len] = '\0';
        }
    }
}

const char *ph_buf_text(const struct ph_buf *buf)
{
    assert(buf);
    return buf->ptr ? buf->ptr : "";
}

int ph_buf_check(const struct ph_buf *buf, const char *what, struct ph_error *err)
{
    assert(buf && what);
    if (!buf->failed) {
        return 0;
    }
    return ph_fail(err, PH_E_NOMEM, "%s: out of memory, or more than %zu bytes", what, buf->cap);
}
