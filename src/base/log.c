/*
 * The daemon's log: a line is built in one buffer on the stack and leaves in one write(2), so lines
 * of several threads never mix. Whatever the message holds, a line stays one line and stays well
 * formed: control characters, line ends and bytes that are not UTF-8 are escaped, and what does not
 * fit is cut with "..." behind it. No lock, no allocation; errno is kept.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 4096 /* line end included: what a pipe takes in one piece */
#define PIPELINE_MAX   256
#define TAIL_BYTES     8 /* room for `..."}`, the line end and a '\0' */

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const level_colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
static const char *const format_names[] = {"logfmt", "json"};

static struct {
    enum ph_log_level level;
    enum ph_log_format format;
    bool colour;
} setup = {PH_LOG_INFO, PH_LOG_LOGFMT, false};

static struct {
    pthread_mutex_t mutex;
    atomic_bool on;
    void (*write_line)(const char *line, void *arg); /* under mutex */
    void *arg;                                       /* under mutex */
} capture = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

void ph_log_setup(enum ph_log_level level, enum ph_log_format format)
{
    assert(level <= PH_LOG_ERROR && format <= PH_LOG_JSON);
    const char *no_colour = getenv("NO_COLOR");
    setup.level = level;
    setup.format = format;
    setup.colour = format == PH_LOG_LOGFMT && !(no_colour && *no_colour) && isatty(STDERR_FILENO);
}

void ph_log_to(void (*write_line)(const char *line, void *arg), void *arg)
{
    pthread_mutex_lock(&capture.mutex);
    capture.write_line = write_line;
    capture.arg = arg;
    atomic_store(&capture.on, write_line != NULL);
    pthread_mutex_unlock(&capture.mutex);
}

/* The index of text in names, or -1. */
static int name_index(struct ph_str text, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (ph_str_is(text, names[i])) {
            return i;
        }
    }
    return -1;
}

bool ph_log_level_parse(struct ph_str text, enum ph_log_level *out)
{
    assert(out);
    int index = name_index(text, level_names, PH_LOG_ERROR + 1);
    if (index >= 0) {
        *out = (enum ph_log_level)index;
    }
    return index >= 0;
}

bool ph_log_format_parse(struct ph_str text, enum ph_log_format *out)
{
    assert(out);
    int index = name_index(text, format_names, PH_LOG_JSON + 1);
    if (index >= 0) {
        *out = (enum ph_log_format)index;
    }
    return index >= 0;
}

/* Adds the bytes whole, if they leave the room that the end of the line needs. */
static bool add(struct line *line, const char *bytes, size_t len)
{
    if (line->len + len > sizeof line->text - TAIL_BYTES) {
        return false;
    }
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
    return true;
}

static void add_text(struct line *line, const char *text)
{
    (void)add(line, text, strlen(text));
}

/* The code point of the well-formed character of len bytes at p. */
static unsigned decode(const unsigned char *p, size_t len)
{
    static const unsigned lead_mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    unsigned code = p[0] & lead_mask[len];
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | (p[i] & 0x3FU);
    }
    return code;
}

/* Whether a character could end a line or steer a terminal. */
static bool is_control(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029;
}

/* Adds one character with what escape it needs; false when it does not fit. */
static bool add_char(struct line *line, struct ph_str s, size_t at, size_t len)
{
    char escape[8];
    if (len == 0) {
        return add(line, "\\ufffd", 6);
    }
    unsigned code = decode((const unsigned char *)s.ptr + at, len);
    if (code == '"' || code == '\\') {
        return add(line, code == '"' ? "\\\"" : "\\\\", 2);
    }
    if (code == '\n' || code == '\r' || code == '\t') {
        return add(line, code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t", 2);
    }
    if (is_control(code)) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", code & 0xFFFF);
        return add(line, escape, 6);
    }
    return add(line, s.ptr + at, len);
}

static void add_quoted(struct line *line, struct ph_str s, bool cut)
{
    add_text(line, "\"");
    for (size_t at = 0; at < s.len;) {
        size_t len = ph_str_utf8_at(s, at);
        if (!add_char(line, s, at, len)) {
            cut = true;
            break;
        }
        at += len ? len : 1;
    }
    const char *end = cut ? "...\"" : "\"";
    memcpy(line->text + line->len, end, strlen(end));
    line->len += strlen(end);
}

/* Whether logfmt takes the text without quotes. */
static bool is_bare(struct ph_str s)
{
    for (size_t at = 0; at < s.len; at++) {
        unsigned char c = (unsigned char)s.ptr[at];
        if (c <= ' ' || c == '=' || c == '"' || c == '\\' || c >= 0x7F) {
            return false;
        }
    }
    return s.len > 0;
}

static void add_value(struct line *line, struct ph_str s, bool cut)
{
    if (setup.format == PH_LOG_LOGFMT && !cut && is_bare(s) && add(line, s.ptr, s.len)) {
        return;
    }
    add_quoted(line, s, cut);
}

static void add_level(struct line *line, enum ph_log_level level)
{
    if (setup.colour && !atomic_load_explicit(&capture.on, memory_order_relaxed)) {
        add_text(line, level_colours[level]);
        add_text(line, level_names[level]);
        add_text(line, "\033[0m");
    } else {
        add_text(line, level_names[level]);
    }
}

/* Everything up to the message and the sign that opens it. */
static void add_front(struct line *line, enum ph_log_level level, const char *pipeline)
{
    bool json = setup.format == PH_LOG_JSON;
    char time[PH_TIME_TEXT_LEN + 1];
    ph_time_format(ph_clock_wall_us(), time);
    add_text(line, json ? "{\"ts\":\"" : "ts=");
    add_text(line, time);
    add_text(line, json ? "\",\"level\":\"" : " level=");
    add_level(line, level);
    add_text(line, json ? "\"" : "");
    if (pipeline) {
        struct ph_str name = ph_str_from(pipeline);
        bool cut = name.len > PIPELINE_MAX;
        name.len = cut ? PIPELINE_MAX : name.len;
        add_text(line, json ? ",\"pipeline\":" : " pipeline=");
        add_value(line, name, cut);
    }
    add_text(line, json ? ",\"msg\":" : " msg=");
}

/* One write; what a full pipe or a closed terminal does not take is lost, the caller goes on. */
static void emit(struct line *line)
{
    if (atomic_load(&capture.on)) {
        line->text[line->len] = '\0';
        pthread_mutex_lock(&capture.mutex);
        if (capture.write_line) {
            capture.write_line(line->text, capture.arg);
        }
        pthread_mutex_unlock(&capture.mutex);
        return;
    }
    line->text[line->len++] = '\n';
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line->text, line->len);
    } while (written < 0 && errno == EINTR);
}

void ph_log(enum ph_log_level level, const char *pipeline, const char *fmt, ...)
{
    assert(level <= PH_LOG_ERROR && fmt);
    if (level < setup.level) {
        return;
    }
    int saved = errno;
    char message[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    int need = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    bool cut = need >= (int)sizeof message;
    struct ph_str text = {message, need < 0 ? 0 : cut ? sizeof message - 1 : (size_t)need};
    struct line line;
    line.len = 0;
    add_front(&line, level, pipeline);
    add_value(&line, text, cut);
    if (setup.format == PH_LOG_JSON) {
        line.text[line.len++] = '}';
    }
    emit(&line);
    errno = saved;
}
