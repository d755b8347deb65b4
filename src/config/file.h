/* Files that a configuration consists of: itself, and those that hold its secrets. */
#ifndef PH_CONFIG_FILE_H
#define PH_CONFIG_FILE_H

#include <sys/stat.h>

#include "base/buf.h"

#define PH_CONFIG_FILE_WAIT_MS 5000

/* Appends at most max bytes of a file; what is behind them is not read. A FIFO without a writer is
 * empty, one with a writer has PH_CONFIG_FILE_WAIT_MS for all of it. *ret_mode (may be NULL) is the
 * file's. PH_E_CONFIG names the file and why it cannot be read. */
int ph_config_file_read(const char *path, size_t max, struct ph_buf *out, mode_t *ret_mode,
                        struct ph_error *err) PH_MUST_CHECK;

#endif
