/*
 * Errors by value: filling a caller's struct ph_error, and what a code is called, may be done about
 * and exits with. All tables come from PH_ERROR_MAP. Promises: the text is always terminated and
 * never ends inside a UTF-8 character that was cut; arguments may point into the text replaced.
 */
#include "base/err.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Takes the front of an incomplete UTF-8 character off the end of a text that was cut. */
static size_t whole_characters(const char *text, size_t len)
{
    size_t tail = 0; /* continuation bytes at the end */
    while (tail < 3 && tail < len && ((unsigned char)text[len - 1 - tail] & 0xC0) == 0x80) {
        tail++;
    }
    if (tail == len) {
        return len;
    }
    unsigned char lead = (unsigned char)text[len - 1 - tail];
    size_t need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    return need > tail ? len - 1 - tail : len;
}

/* Formats into size bytes, terminated; returns the length of what is there. */
__attribute__((format(printf, 3, 0))) static size_t format_cut(char *out, size_t size,
                                                               const char *fmt, va_list args)
{
    int need = vsnprintf(out, size, fmt, args);
    size_t len = need < 0 ? 0 : (size_t)need;
    if (len >= size) {
        len = whole_characters(out, size - 1);
    }
    out[len] = '\0';
    return len;
}

int ph_fail(struct ph_error *err, int code, const char *fmt, ...)
{
    assert(code < 0 && fmt);
    if (!err) {
        return code;
    }
    char text[PH_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    size_t len = format_cut(text, sizeof text, fmt, args);
    va_end(args);
    err->code = code;
    memcpy(err->text, text, len + 1);
    return code;
}

int ph_fail_prefix(struct ph_error *err, const char *fmt, ...)
{
    assert(fmt);
    if (!err) {
        return PH_E_SOFTWARE;
    }
    char text[PH_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    size_t len = format_cut(text, sizeof text, fmt, args);
    va_end(args);
    int need = snprintf(text + len, sizeof text - len, ": %s", err->text);
    len = need < 0 ? len : len + (size_t)need;
    if (len >= sizeof text) {
        len = whole_characters(text, sizeof text - 1);
    }
    text[len] = '\0';
    memcpy(err->text, text, len + 1);
    return err->code;
}

void ph_error_clear(struct ph_error *err)
{
    if (err) {
        err->code = 0;
        err->text[0] = '\0';
    }
}

const char *ph_code_name(int code)
{
    switch (code) {
    case 0:
        return "OK";
#define PH_ERROR_NAME(name, value, class, exit_status, text) \
    case PH_E_##name:                                        \
        return #name;
        PH_ERROR_MAP(PH_ERROR_NAME)
#undef PH_ERROR_NAME
    default:
        return "UNKNOWN";
    }
}

enum ph_class ph_code_class(int code)
{
    switch (code) {
#define PH_ERROR_CLASS(name, value, class, exit_status, text) \
    case PH_E_##name:                                         \
        return class;
        PH_ERROR_MAP(PH_ERROR_CLASS)
#undef PH_ERROR_CLASS
    default:
        return PH_FATAL;
    }
}

int ph_code_exit(int code)
{
    switch (code) {
    case 0:
        return 0;
#define PH_ERROR_EXIT(name, value, class, exit_status, text) \
    case PH_E_##name:                                        \
        return exit_status;
        PH_ERROR_MAP(PH_ERROR_EXIT)
#undef PH_ERROR_EXIT
    default:
        return 70;
    }
}
