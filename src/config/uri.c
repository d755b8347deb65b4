/*
 * Looks at URIs without opening anything.
 * Place: used by settings and the commands before a driver is asked.
 * Promise: nothing that looks like a secret passes ph_uri_redact; what cannot be understood is
 * shown as its scheme only.
 */
#include "config/uri.h"

#include "core/source.h"
#include "db/postgres.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains_word(struct ph_str text, const char *word)
{
    size_t len = strlen(word);
    for (size_t at = 0; at + len <= text.len; at++) {
        size_t same = 0;
        while (same < len && lower(text.ptr[at + same]) == word[same]) {
            same++;
        }
        if (same == len) {
            return true;
        }
    }
    return false;
}

static bool ends_with(struct ph_str text, const char *word)
{
    size_t len = strlen(word);
    return text.len >= len && contains_word((struct ph_str){text.ptr + text.len - len, len}, word);
}

bool ph_name_is_secret(struct ph_str name)
{
    static const char *const words[] = {"password", "passwd", "passphrase", "secret", "jaas"};
    if (ends_with(name, "_file")) {
        return false; /* it says where the secret is */
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (contains_word(name, words[i])) {
            return true;
        }
    }
    return ends_with(name, "token") || ends_with(name, "key.pem"); /* ssl.key.pem: the key itself */
}

bool ph_word_has_secret(struct ph_str word)
{
    return ph_name_is_secret(word) || (word.len > 0 && memchr(word.ptr, '@', word.len));
}

static size_t find(struct ph_str text, size_t from, const char *any)
{
    while (from < text.len && !strchr(any, text.ptr[from])) {
        from++;
    }
    return from;
}

static void put_shown(struct ph_buf *out, struct ph_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        ph_buf_putc(out, c < 0x20 || c == 0x7f ? '?' : text.ptr[i]);
    }
}

static struct ph_str part(struct ph_str text, size_t from, size_t to)
{
    return (struct ph_str){text.ptr + from, to - from};
}

/* "user:secret" as "user:***". */
static void put_user(struct ph_buf *out, struct ph_str user)
{
    size_t colon = find(user, 0, ":");
    put_shown(out, part(user, 0, colon));
    ph_buf_puts(out, colon < user.len ? ":***@" : "@");
}

/* "?a=1&password=x" with secret values starred. */
static void put_query(struct ph_buf *out, struct ph_str query)
{
    for (size_t at = 0; at < query.len;) {
        size_t end = find(query, at + 1, "&;");
        size_t equals = find(query, at, "=");
        if (equals < end && ph_name_is_secret(part(query, at, equals))) {
            put_shown(out, part(query, at, equals));
            ph_buf_puts(out, "=***");
        } else {
            put_shown(out, part(query, at, end));
        }
        at = end;
    }
}

static void redact_any(struct ph_str uri, struct ph_buf *out)
{
    size_t at = ph_str_scheme(uri).len;
    if (at > 0 && ph_str_starts(part(uri, at, uri.len), PH_STR("://"))) {
        /* A password may hold '/' unquoted: the last '@' in front of the query ends it. */
        size_t query = find(uri, at, "?");
        size_t host = at + 3;
        for (size_t i = host; i < query; i++) {
            host = uri.ptr[i] == '@' ? i + 1 : host;
        }
        put_shown(out, part(uri, 0, at + 3));
        if (host > at + 3) {
            put_user(out, part(uri, at + 3, host - 1));
        }
        at = host;
    } else {
        at = 0;
    }
    size_t query = find(uri, at, "?");
    put_shown(out, part(uri, at, query));
    put_query(out, part(uri, query, uri.len));
}

static bool is_postgres(const char *uri)
{
    const struct ph_source_driver *driver = ph_source_find(uri);
    return driver && strncmp(driver->name, "postgres", 8) == 0;
}

void ph_uri_redact(const char *uri, struct ph_buf *out)
{
    if (!is_postgres(uri)) {
        redact_any(ph_str_from(uri), out);
        return;
    }
    PH_CLEANUP(ph_cleanup_mem) char *shown = ph_pg_redact(uri);
    ph_buf_puts(out, shown ? shown : "postgresql");
}

/* "password=", with or without spaces: also in a text that libpq cannot read. */
static bool assigns_password(const char *text)
{
    for (text = strstr(text, "password"); text; text = strstr(text, "password")) {
        text += strlen("password");
        if (text[strspn(text, " ")] == '=') {
            return true;
        }
    }
    return false;
}

bool ph_uri_has_secret(const char *uri)
{
    struct ph_str text = ph_str_from(uri);
    if (is_postgres(uri) && (ph_pg_has_password(uri) || assigns_password(uri))) {
        return true;
    }
    struct ph_buf shown;
    ph_buf_init(&shown, (size_t)1 << 20);
    redact_any(text, &shown);
    bool secret = !ph_str_eq(ph_buf_str(&shown), text);
    ph_buf_free(&shown);
    return secret;
}
