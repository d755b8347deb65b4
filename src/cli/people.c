/*
 * What commands for people share: times as they write them, texts as they may be shown.
 * Place: below the commands that show rows of the database.
 * Promise: a text that somebody else put into the database cannot move a terminal's cursor, change
 * its colors or its title, or look like another text.
 */
#include "cli/people.h"

#include "base/json.h"
#include "config/settings.h"

/* --- texts -------------------------------------------------------------------------------------
 */

static unsigned code_at(struct ph_str text, size_t at, size_t len)
{
    static const unsigned char first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    unsigned code = (unsigned char)text.ptr[at] & first_bits[len];
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | ((unsigned char)text.ptr[at + i] & 0x3F);
    }
    return code;
}

/* What a terminal acts on instead of showing it; and what reorders or ends lines (UAX #9). */
static bool is_unsafe(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C ||
           (code >= 0x200E && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

static void put_unsafe(struct ph_buf *out, unsigned code)
{
    if (code == '\n' || code == '\t') {
        ph_buf_puts(out, code == '\n' ? "\\n" : "\\t");
    } else {
        ph_buf_printf(out, "\\u%04x", code);
    }
}

void ph_cli_put_plain(struct ph_buf *out, struct ph_str text)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = ph_str_utf8_at(text, at);
        if (len == 0) {
            ph_buf_printf(out, "\\x%02x", (unsigned char)text.ptr[at++]);
            continue;
        }
        unsigned code = code_at(text, at, len);
        if (is_unsafe(code)) {
            put_unsafe(out, code);
        } else {
            ph_buf_put(out, text.ptr + at, len);
        }
        at += len;
    }
}

void ph_cli_put_line(struct ph_buf *out, const char *label, const char *text)
{
    ph_buf_printf(out, "  %-12s", label);
    ph_cli_put_plain(out, ph_str_from(text && *text ? text : "-"));
    ph_buf_putc(out, '\n');
}

void ph_cli_json_raw(struct ph_buf *out, const char *name, const char *value)
{
    ph_json_put_name(out, name);
    ph_buf_puts(out, value ? value : "null");
}

void ph_cli_json_text(struct ph_buf *out, const char *name, const char *value)
{
    ph_json_put_name(out, name);
    if (value) {
        ph_json_put_string(out, ph_str_from(value));
    } else {
        ph_buf_puts(out, "null");
    }
}

/* --- words -------------------------------------------------------------------------------------
 */

int ph_cli_time(const struct ph_cli *cli, const char *name, int64_t *ret_us, struct ph_error *err)
{
    const char *text = ph_cli_get(cli, name);
    struct ph_start start = {.kind = PH_START_TIME};
    *ret_us = 0;
    if (!text) {
        return 0;
    }
    if (ph_start_parse(ph_str_from(text), &start, err) < 0 || start.kind != PH_START_TIME) {
        return ph_fail(err, PH_E_USAGE,
                       "--%s %s: write a time with its zone, such as 2026-11-21T04:28:09Z", name,
                       text);
    }
    *ret_us = start.time_us;
    return 0;
}

int ph_cli_number(const struct ph_cli *cli, const char *name, int64_t min, int64_t max,
                  int64_t *ret, struct ph_error *err)
{
    const char *text = ph_cli_get(cli, name);
    int64_t value;
    if (!text) {
        return 0;
    }
    if (!ph_str_i64(ph_str_from(text), &value) || value < min || value > max) {
        return ph_fail(err, PH_E_USAGE, "--%s %s: write a number from %lld to %lld", name, text,
                       (long long)min, (long long)max);
    }
    *ret = value;
    return 0;
}

int ph_cli_misused(const struct ph_cli *cli, const struct ph_error *err)
{
    (void)fprintf(stderr, "posthorn: %s: %s (see posthorn help %s)\n", cli->command->name,
                  err->text, cli->command->name);
    return PH_EXIT_USAGE;
}
