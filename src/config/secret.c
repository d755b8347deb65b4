/*
 * Reads secrets from files.
 * Place: below settings. Promise: the content never gets into a message.
 */
#include "config/secret.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/file.h"

void ph_secret_path(const char *path, struct ph_buf *out)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder && *folder && *path != '/') {
        struct ph_buf there;
        ph_buf_init(&there, 8192);
        ph_buf_printf(&there, "%s/%s", folder, path);
        if (!there.failed && access(ph_buf_text(&there), F_OK) == 0) {
            path = NULL;
            ph_buf_put_str(out, ph_buf_str(&there));
        }
        ph_buf_free(&there);
    }
    if (path) {
        ph_buf_puts(out, path);
    }
}

static int read_file(const char *path, struct ph_buf *out, struct ph_error *err)
{
    size_t before = out->len;
    int rc = ph_config_file_read(path, PH_SECRET_BYTES_MAX + 1, out, NULL, err);
    return rc == 0 && out->len - before > PH_SECRET_BYTES_MAX
               ? ph_fail(err, PH_E_CONFIG, "%s is larger than %zu bytes", path, PH_SECRET_BYTES_MAX)
               : rc;
}

int ph_secret_read(const char *path, struct ph_buf *out, struct ph_error *err)
{
    struct ph_buf where;
    ph_buf_init(&where, 8192);
    ph_secret_path(path, &where);
    size_t before = out->len;
    int rc = read_file(ph_buf_text(&where), out, err);
    if (rc == 0 && out->len > before && out->ptr[out->len - 1] == '\n') {
        out->len--;
        out->len -= out->len > before && out->ptr[out->len - 1] == '\r';
        out->ptr[out->len] = '\0';
    }
    if (rc == 0 && out->len == before) {
        rc = ph_fail(err, PH_E_CONFIG, "%s is empty", ph_buf_text(&where));
    } else if (rc == 0 && memchr(out->ptr + before, '\0', out->len - before)) {
        rc = ph_fail(err, PH_E_CONFIG, "%s holds a zero byte", ph_buf_text(&where));
    }
    ph_buf_free(&where);
    return rc < 0 ? rc : ph_buf_check(out, "a secret", err);
}
