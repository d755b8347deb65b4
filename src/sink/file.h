/*
 * Inside the file sink: what its files share. file.c writes and rotates; file_open.c opens, locks
 * and repairs; file_scan.c reads back for verify.
 */
#ifndef PH_SINK_FILE_H
#define PH_SINK_FILE_H

#include "core/sink.h"

#define PH_FILE_PATH_MAX    4096
#define PH_FILE_ROTATED_MAX 1000000 /* files of one sink */

struct ph_file_config {
    int64_t rotate_size; /* 0: never */
    bool fsync;
};

/* The path in a URI "file:PATH" or "file:///PATH"; PH_E_CONFIG when there is none. */
int ph__file_path(const char *uri, const char **ret, struct ph_error *err) PH_MUST_CHECK;

/* Opens the file of a sink for writing, made when there is none, and locks it. *ret_size is its
 * size once a torn last line is cut off, *ret_cut how much that was. PH_E_UNAVAILABLE when another
 * has it, PH_E_CONFIG when a person must act. */
int ph__file_open(const char *path, int *ret_fd, int64_t *ret_size, int64_t *ret_cut,
                  struct ph_error *err) PH_MUST_CHECK;
/* Makes the names in the folder of path outlive a crash. */
int ph__file_sync_folder(const char *path, struct ph_error *err) PH_MUST_CHECK;

/* The numbers N for which PATH.N exists, in rising order; the caller frees *ret. */
int ph__file_rotated(const char *path, uint64_t **ret, size_t *ret_count,
                     struct ph_error *err) PH_MUST_CHECK;
/* PATH.N */
int ph__file_rotated_name(const char *path, uint64_t number, char out[PH_FILE_PATH_MAX],
                          struct ph_error *err) PH_MUST_CHECK;

extern const struct ph_sink_driver ph_sink_file;

/* The driver's scan: rotated files in order, then the current one. */
int ph_file_scan(const struct ph_sink_env *env, const void *config, const struct ph_str *topics,
                 size_t topic_count, int (*each)(void *arg, const struct ph_record *record),
                 void *arg, struct ph_error *err);

#endif
