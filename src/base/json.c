/*
 * The JSON scanner: strict RFC 8259, no tree, no recursion, no allocation but for a string with
 * escapes. It reads hostile text: every look is bounded by the length, nesting by
 * PH_JSON_DEPTH_MAX, and strings must be UTF-8. Numbers and nested values keep their bytes.
 */
#include "base/json.h"

#include <assert.h>
#include <string.h>

#include "base/json_bytes.h"

struct scan {
    struct ph_str text;
    size_t at;
    const char *wrong; /* what was expected at that byte; NULL as long as all is well */
};

static bool fail(struct scan *scan, const char *wrong)
{
    scan->wrong = wrong;
    return false;
}

static int report(const struct scan *scan, struct ph_error *err)
{
    return ph_fail(err, PH_E_DATA, "JSON, byte %zu: %s", scan->at, scan->wrong);
}

/* The byte at the cursor, or -1 at the end. */
static inline int peek(const struct scan *scan)
{
    return scan->at < scan->text.len ? (unsigned char)scan->text.ptr[scan->at] : -1;
}

static inline void skip_space(struct scan *scan)
{
    int c = peek(scan);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
        scan->at++;
        c = peek(scan);
    }
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    int letter = c | 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The four hexadecimal digits at ptr, or -1; at least four bytes must be there. */
static int hex_four(const char *ptr)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit((unsigned char)ptr[i]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* The cursor is on a backslash. */
static bool skip_escape(struct scan *scan)
{
    size_t left = scan->text.len - scan->at;
    const char *at = scan->text.ptr + scan->at;
    if (left >= 2 && at[1] != '\0' && strchr("\"\\/bfnrt", at[1])) {
        scan->at += 2;
        return true;
    }
    if (left >= 6 && at[1] == 'u' && hex_four(at + 2) >= 0) {
        scan->at += 6;
        return true;
    }
    return fail(scan, "bad escape");
}

/* Over the characters of a string, up to a quote or the end; *escaped tells of escapes. */
static bool skip_chars(struct scan *scan, bool *escaped)
{
    for (;;) {
        while (scan->text.len - scan->at >= 8 && !ph__json_any_special(scan->text.ptr + scan->at)) {
            scan->at += 8;
        }
        int c = peek(scan);
        if (c < 0 || c == '"') {
            return true;
        }
        if (c < 0x20) {
            return fail(scan, "control byte in a string");
        }
        if (c == '\\') {
            *escaped = true;
            if (!skip_escape(scan)) {
                return false;
            }
            continue;
        }
        size_t len = c < 0x80 ? 1 : ph_str_utf8_at(scan->text, scan->at);
        if (len == 0) {
            return fail(scan, "string is not UTF-8");
        }
        scan->at += len;
    }
}

/* A string with its quotes; the cursor must be on the first. */
static bool skip_string(struct scan *scan)
{
    bool escaped = false;
    if (peek(scan) != '"') {
        return fail(scan, "string expected");
    }
    scan->at++;
    if (!skip_chars(scan, &escaped)) {
        return false;
    }
    if (peek(scan) != '"') {
        return fail(scan, "string without an end");
    }
    scan->at++;
    return true;
}

static bool skip_digits(struct scan *scan)
{
    size_t first = scan->at;
    for (int c = peek(scan); c >= '0' && c <= '9'; c = peek(scan)) {
        scan->at++;
    }
    return scan->at > first || fail(scan, "digit expected");
}

static bool skip_number(struct scan *scan)
{
    if (peek(scan) == '-') {
        scan->at++;
    }
    if (peek(scan) == '0') {
        scan->at++;
    } else if (!skip_digits(scan)) {
        return false;
    }
    if (peek(scan) == '.') {
        scan->at++;
        if (!skip_digits(scan)) {
            return false;
        }
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-') {
            scan->at++;
        }
        return skip_digits(scan);
    }
    return true;
}

static bool skip_word(struct scan *scan, struct ph_str word)
{
    struct ph_str rest = {scan->text.ptr + scan->at, scan->text.len - scan->at};
    if (!ph_str_starts(rest, word)) {
        return fail(scan, "value expected");
    }
    scan->at += word.len;
    return true;
}

static bool skip_scalar(struct scan *scan)
{
    int c = peek(scan);
    switch (c) {
    case '"':
        return skip_string(scan);
    case 't':
        return skip_word(scan, PH_STR("true"));
    case 'f':
        return skip_word(scan, PH_STR("false"));
    case 'n':
        return skip_word(scan, PH_STR("null"));
    default:
        return c == '-' || (c >= '0' && c <= '9') ? skip_number(scan)
                                                  : fail(scan, "value expected");
    }
}

/* The colon behind a name, and the space around it. */
static bool skip_colon(struct scan *scan)
{
    skip_space(scan);
    if (peek(scan) != ':') {
        return fail(scan, "':' expected");
    }
    scan->at++;
    skip_space(scan);
    return true;
}

static bool skip_name(struct scan *scan)
{
    return skip_string(scan) && skip_colon(scan);
}

/* What is open around the cursor: the byte that closes each level. */
struct nest {
    char closer[PH_JSON_DEPTH_MAX];
    size_t depth, limit;
};

/* Behind a value: closes what ends here and stops before the next value, or at depth 0. */
static bool close_levels(struct scan *scan, struct nest *nest)
{
    while (nest->depth > 0) {
        char closer = nest->closer[nest->depth - 1];
        skip_space(scan);
        int c = peek(scan);
        if (c == closer) {
            scan->at++;
            nest->depth--;
        } else if (c == ',') {
            scan->at++;
            skip_space(scan);
            return closer == ']' || skip_name(scan);
        } else {
            return fail(scan, closer == ']' ? "',' or ']' expected" : "',' or '}' expected");
        }
    }
    return true;
}

/* Enters the object or array at the cursor; *empty when nothing is in it. */
static bool open_level(struct scan *scan, struct nest *nest, bool *empty)
{
    if (nest->depth == nest->limit) {
        return fail(scan, "nested too deep");
    }
    char closer = peek(scan) == '{' ? '}' : ']';
    nest->closer[nest->depth++] = closer;
    scan->at++;
    skip_space(scan);
    *empty = peek(scan) == closer;
    return *empty || closer == ']' || skip_name(scan);
}

/* One value of any kind, at most limit levels deep; the cursor must be on its first byte. */
static bool skip_value(struct scan *scan, size_t limit)
{
    struct nest nest;
    nest.depth = 0;
    nest.limit = limit;
    do {
        int c = peek(scan);
        bool value_done = true;
        if (c == '{' || c == '[') {
            if (!open_level(scan, &nest, &value_done)) {
                return false;
            }
        } else if (!skip_scalar(scan)) {
            return false;
        }
        if (value_done && !close_levels(scan, &nest)) {
            return false;
        }
    } while (nest.depth > 0);
    return true;
}

int ph_json_check(struct ph_str text, struct ph_error *err)
{
    assert(text.ptr || text.len == 0);
    struct scan scan = {.text = text};
    skip_space(&scan);
    if (!skip_value(&scan, PH_JSON_DEPTH_MAX)) {
        return report(&scan, err);
    }
    skip_space(&scan);
    if (scan.at < text.len) {
        fail(&scan, "more behind the value");
        return report(&scan, err);
    }
    return 0;
}

struct ph_json_walk ph_json_walk_object(struct ph_str text)
{
    assert(text.ptr || text.len == 0);
    return (struct ph_json_walk){.text = text};
}

/* Where a finished walk stands: behind any offset in the text. */
#define WALK_DONE SIZE_MAX

/* Up to the name of the next member; *end when there is none and the text is over. */
static bool walk_to_name(struct scan *scan, bool started, bool *end)
{
    skip_space(scan);
    if (!started && peek(scan) != '{') {
        return fail(scan, "object expected");
    }
    if (!started || peek(scan) == ',') {
        scan->at++;
        skip_space(scan);
        *end = !started && peek(scan) == '}';
    } else {
        *end = peek(scan) == '}';
        if (!*end) {
            return fail(scan, "',' or '}' expected");
        }
    }
    if (*end) {
        scan->at++;
        skip_space(scan);
        return scan->at == scan->text.len || fail(scan, "more behind the object");
    }
    return true;
}

static inline struct ph_str slice(const struct scan *scan, size_t from, size_t to)
{
    return (struct ph_str){scan->text.ptr + from, to - from};
}

int ph_json_next(struct ph_json_walk *walk, struct ph_json_member *out, struct ph_error *err)
{
    assert(walk && out);
    if (walk->at == WALK_DONE) {
        return 0;
    }
    struct scan scan = {.text = walk->text, .at = walk->at};
    bool end = false;
    if (!walk_to_name(&scan, walk->started, &end)) {
        return report(&scan, err);
    }
    if (end) {
        walk->at = WALK_DONE;
        return 0;
    }
    size_t name_at = scan.at + 1;
    if (!skip_string(&scan)) {
        return report(&scan, err);
    }
    struct ph_str name = slice(&scan, name_at, scan.at - 1);
    if (!skip_colon(&scan)) {
        return report(&scan, err);
    }
    size_t value_at = scan.at;
    if (!skip_value(&scan, PH_JSON_DEPTH_MAX - 1)) {
        return report(&scan, err);
    }
    *out = (struct ph_json_member){name, slice(&scan, value_at, scan.at)};
    walk->at = scan.at;
    walk->started = true;
    return 1;
}

bool ph_json_is_string(struct ph_str value)
{
    return value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"';
}

bool ph_json_is_null(struct ph_str value)
{
    return ph_str_eq(value, PH_STR("null"));
}

bool ph_json_is_object(struct ph_str value)
{
    return value.len >= 2 && value.ptr[0] == '{' && value.ptr[value.len - 1] == '}';
}

/* Writes a code point as UTF-8 and returns its length. */
static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* The code point of the \u escape at the cursor, or of a pair of them, which may not be
 * U+0000 or half a pair: then 0. */
static unsigned take_unicode(struct scan *scan)
{
    const char *at = scan->text.ptr + scan->at;
    int code = hex_four(at + 2);
    scan->at += 6;
    if (code < 0xD800 || code > 0xDFFF) {
        return (unsigned)code;
    }
    bool pair = scan->text.len - scan->at >= 6 && at[6] == '\\' && at[7] == 'u';
    int low = pair ? hex_four(at + 8) : -1;
    if (code > 0xDBFF || low < 0xDC00 || low > 0xDFFF) {
        return 0;
    }
    scan->at += 6;
    return 0x10000U + ((unsigned)(code - 0xD800) << 10) + (unsigned)(low - 0xDC00);
}

/* The byte a one-letter escape stands for. */
static char unescape(char letter)
{
    static const char letters[] = "bfnrt";
    static const char bytes[] = "\b\f\n\r\t";
    const char *found = strchr(letters, letter);
    return found ? bytes[found - letters] : letter;
}

/* Resolves the escapes of checked characters into out, which is at least as long; the length. */
static bool resolve(struct scan *scan, char *out, size_t *len)
{
    size_t at = 0;
    while (scan->at < scan->text.len) {
        const char *from = scan->text.ptr + scan->at;
        if (*from != '\\') {
            const char *next = memchr(from, '\\', scan->text.len - scan->at);
            size_t run = next ? (size_t)(next - from) : scan->text.len - scan->at;
            memcpy(out + at, from, run);
            at += run;
            scan->at += run;
        } else if (from[1] == 'u') {
            size_t escape_at = scan->at;
            unsigned code = take_unicode(scan);
            if (code == 0) {
                scan->at = escape_at;
                return fail(scan, "\\u0000 or half a surrogate pair");
            }
            at += put_utf8(out + at, code);
        } else {
            out[at++] = unescape(from[1]);
            scan->at += 2;
        }
    }
    *len = at;
    return true;
}

int ph_json_name(struct ph_arena *arena, struct ph_str name, struct ph_str *out,
                 struct ph_error *err)
{
    assert(out && (name.ptr || name.len == 0));
    struct scan scan = {.text = name};
    bool escaped = false;
    if (!skip_chars(&scan, &escaped)) {
        return report(&scan, err);
    }
    if (scan.at < name.len) {
        fail(&scan, "quote inside a string");
        return report(&scan, err);
    }
    if (!escaped) {
        *out = name;
        return 0;
    }
    assert(arena);
    char *bytes = ph_arena_alloc(arena, name.len + 1);
    if (!bytes) {
        return ph_fail(err, PH_E_NOMEM, "JSON: no room for a string of %zu bytes", name.len);
    }
    size_t len;
    scan.at = 0;
    if (!resolve(&scan, bytes, &len)) {
        return report(&scan, err);
    }
    bytes[len] = '\0';
    *out = (struct ph_str){bytes, len};
    return 0;
}

int ph_json_string(struct ph_arena *arena, struct ph_str value, struct ph_str *out,
                   struct ph_error *err)
{
    if (!ph_json_is_string(value)) {
        return ph_fail(err, PH_E_DATA, "JSON: not a string");
    }
    return ph_json_name(arena, (struct ph_str){value.ptr + 1, value.len - 2}, out, err);
}
