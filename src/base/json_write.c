/*
 * The JSON writer: strings and members into a ph_buf. What comes in may be any bytes; what goes out
 * is always well-formed. Bytes that need no escape are copied run by run, eight looked at a time.
 */
#include "base/json.h"

#include <assert.h>
#include <string.h>

#include "base/json_bytes.h"

/* The end of the run of bytes from at that are copied as they are. */
static size_t plain_end(struct ph_str s, size_t at)
{
    while (at < s.len) {
        if (s.len - at >= 8 && !ph__json_any_special(s.ptr + at)) {
            at += 8;
            continue;
        }
        unsigned char c = (unsigned char)s.ptr[at];
        if (c < 0x20 || c == '"' || c == '\\') {
            return at;
        }
        size_t len = c < 0x80 ? 1 : ph_str_utf8_at(s, at);
        if (len == 0) {
            return at;
        }
        at += len;
    }
    return at;
}

/* One byte that cannot stand in a JSON string as it is. */
static void put_escaped(struct ph_buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char bytes[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    if (c >= 0x80) {
        ph_buf_put(buf, "\xEF\xBF\xBD", 3);
        return;
    }
    const char *found = c > 0 ? strchr(bytes, c) : NULL;
    if (found) {
        ph_buf_put(buf, (char[]){'\\', letters[found - bytes]}, 2);
    } else {
        ph_buf_put(buf, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

void ph_json_put_string(struct ph_buf *buf, struct ph_str s)
{
    assert(buf && (s.ptr || s.len == 0));
    ph_buf_putc(buf, '"');
    for (size_t at = 0; at < s.len && !buf->failed;) {
        size_t end = plain_end(s, at);
        ph_buf_put(buf, s.ptr + at, end - at);
        at = end;
        if (at < s.len) {
            put_escaped(buf, (unsigned char)s.ptr[at++]);
        }
    }
    ph_buf_putc(buf, '"');
}

void ph_json_put_name(struct ph_buf *buf, const char *name)
{
    assert(buf && name);
    struct ph_str s = ph_str_from(name);
    assert(plain_end(s, 0) == s.len);
    if (buf->len == 0 || buf->ptr[buf->len - 1] != '{') {
        ph_buf_putc(buf, ',');
    }
    ph_buf_putc(buf, '"');
    ph_buf_put_str(buf, s);
    ph_buf_put(buf, "\":", 2);
}

void ph_json_put_member(struct ph_buf *buf, const char *name, struct ph_str value)
{
    ph_json_put_name(buf, name);
    ph_json_put_string(buf, value);
}

void ph_json_put_member_i64(struct ph_buf *buf, const char *name, int64_t value)
{
    ph_json_put_name(buf, name);
    ph_buf_put_i64(buf, value);
}
