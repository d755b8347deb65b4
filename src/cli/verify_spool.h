/* Fixed-size items in a temporary file, split into partitions and read back in the order they were
 * put. */
#ifndef PH_CLI_VERIFY_SPOOL_H
#define PH_CLI_VERIFY_SPOOL_H

#include "base/err.h"

#include <stdint.h>

struct ph_spool;

#define PH_SPOOL_PARTITIONS_MAX ((size_t)1024)
#define PH_SPOOL_ITEM_MAX       ((size_t)128)

/* The file lies in TMPDIR, else /tmp, and has no name. item_size is a multiple of 8, at most
 * PH_SPOOL_ITEM_MAX. PH_E_IO, PH_E_NOMEM. */
int ph_spool_new(size_t partitions, size_t item_size, struct ph_spool **ret,
                 struct ph_error *err) PH_MUST_CHECK;
void ph_spool_free(struct ph_spool *spool);

/* Appends one item to a partition. PH_E_IO when the file takes no more. */
int ph_spool_put(struct ph_spool *spool, size_t partition, const void *item,
                 struct ph_error *err) PH_MUST_CHECK;
/* How many items a partition holds. */
size_t ph_spool_count(const struct ph_spool *spool, size_t partition);

/* Reading one partition from its start; one at a time, and nothing may be put meanwhile. */
void ph_spool_rewind(struct ph_spool *spool, size_t partition);
/* 1 and the next item, 0 at the end, PH_E_IO. */
int ph_spool_next(struct ph_spool *spool, void *item, struct ph_error *err) PH_MUST_CHECK;

#endif
