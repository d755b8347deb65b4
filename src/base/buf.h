/*
 * A growing byte buffer, born with a cap. A put that cannot be done marks the buffer failed and
 * changes nothing; later puts do nothing either, so that one check at the end is enough.
 */
#ifndef PH_BASE_BUF_H
#define PH_BASE_BUF_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct ph_buf {
    char *ptr; /* always followed by '\0' once something was put */
    size_t len, size, cap;
    bool failed;
};

/* A buffer that grows to at most cap bytes. Allocates nothing yet. */
void ph_buf_init(struct ph_buf *buf, size_t cap);
void ph_buf_free(struct ph_buf *buf);
/* Empties it, keeps its memory, forgets a failure. */
void ph_buf_clear(struct ph_buf *buf);

/* Makes room for len more bytes and a '\0'; false marks the buffer failed. */
bool ph__buf_grow(struct ph_buf *buf, size_t len);

/* What is put, here and below, must not lie in the buffer itself. */
static inline void ph_buf_put(struct ph_buf *buf, const void *bytes, size_t len)
{
    assert(buf && (bytes || len == 0));
    if (len == 0 || buf->failed || (len >= buf->size - buf->len && !ph__buf_grow(buf, len))) {
        return;
    }
    memcpy(buf->ptr + buf->len, bytes, len);
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

static inline void ph_buf_putc(struct ph_buf *buf, char c)
{
    ph_buf_put(buf, &c, 1);
}

/* The same for a text, a slice, a number in decimal, and formatted text. */
void ph_buf_puts(struct ph_buf *buf, const char *text);
void ph_buf_put_str(struct ph_buf *buf, struct ph_str s);
void ph_buf_put_i64(struct ph_buf *buf, int64_t value);
void ph_buf_put_u64(struct ph_buf *buf, uint64_t value);
void ph_buf_printf(struct ph_buf *buf, const char *fmt, ...) PH_PRINTF(2, 3);

/* What it holds, valid until the next put; "" when empty. */
const char *ph_buf_text(const struct ph_buf *buf);
static inline struct ph_str ph_buf_str(const struct ph_buf *buf)
{
    return (struct ph_str){ph_buf_text(buf), buf->len};
}
/* 0, or PH_E_NOMEM naming what did not fit. */
int ph_buf_check(const struct ph_buf *buf, const char *what, struct ph_error *err) PH_MUST_CHECK;

#endif
