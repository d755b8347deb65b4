/* URIs as people write them: which part says what kind of thing it is, and which must not be shown.
 */
#ifndef PH_CONFIG_URI_H
#define PH_CONFIG_URI_H

#include "base/buf.h"

/* Appends the URI of a database or a sink for messages: a password becomes "***", query values
 * whose names speak of a secret too, control characters '?'. A PostgreSQL conninfo comes out as
 * ph_pg_redact gives it. */
void ph_uri_redact(const char *uri, struct ph_buf *out);

/* Whether ph_uri_redact would hide something of it, readable or not. */
bool ph_uri_has_secret(const char *uri);

/* Whether a name speaks of a secret ("sasl.password", "client_secret", "api_token"), and is
 * not that of a file which holds it ("sasl.password_file"). */
bool ph_name_is_secret(struct ph_str name);

/* Whether a word that was to be a key may hold a secret instead: it speaks of one, or has the '@'
 * of a URI with a password, which no key has. */
bool ph_word_has_secret(struct ph_str word);

#endif
