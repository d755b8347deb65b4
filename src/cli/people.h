/* What commands for people share: times as they write them, texts as they may be shown. */
#ifndef PH_CLI_PEOPLE_H
#define PH_CLI_PEOPLE_H

#include "cli/cli.h"

/* Appends a text of somebody else's for a terminal: control characters, and those that turn the
 * direction of writing, as \n, \t or \u001b, bytes that are no UTF-8 as \xff; the rest as it is. */
void ph_cli_put_plain(struct ph_buf *out, struct ph_str text);
/* "  LABEL      TEXT", plain; NULL is "-". */
void ph_cli_put_line(struct ph_buf *out, const char *label, const char *text);

/* A member whose value is raw JSON, or a string; NULL is null. */
void ph_cli_json_raw(struct ph_buf *out, const char *name, const char *value);
void ph_cli_json_text(struct ph_buf *out, const char *name, const char *value);

/* The value of an option that is a time with a zone, in us since 1970; 0 when it was not given.
 * PH_E_USAGE names the option. */
int ph_cli_time(const struct ph_cli *cli, const char *name, int64_t *ret_us,
                struct ph_error *err) PH_MUST_CHECK;
/* The same for a whole number from min to max; *ret is left when it was not given. */
int ph_cli_number(const struct ph_cli *cli, const char *name, int64_t min, int64_t max,
                  int64_t *ret, struct ph_error *err) PH_MUST_CHECK;
/* "posthorn: COMMAND: TEXT (see posthorn help COMMAND)" on stderr; the status of wrong use. */
int ph_cli_misused(const struct ph_cli *cli, const struct ph_error *err);

#endif
