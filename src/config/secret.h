/* Secrets that lie in files: KEY_file: PATH. */
#ifndef PH_CONFIG_SECRET_H
#define PH_CONFIG_SECRET_H

#include "base/buf.h"

#define PH_SECRET_BYTES_MAX ((size_t)64 * 1024)

/* Appends the path that is meant: a relative one lies in $CREDENTIALS_DIRECTORY (systemd's
 * LoadCredential), if there is such a file. */
void ph_secret_path(const char *path, struct ph_buf *out);
/* Appends the content of the file without one line end behind it. PH_E_CONFIG names the file that
 * is missing, empty, too large or no text. */
int ph_secret_read(const char *path, struct ph_buf *out, struct ph_error *err) PH_MUST_CHECK;

#endif
