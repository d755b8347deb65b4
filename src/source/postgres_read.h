/* Between the reading machine (postgres_read.c) and the batches it makes (postgres_batch.c). */
#ifndef PH_SOURCE_POSTGRES_READ_H
#define PH_SOURCE_POSTGRES_READ_H

#include "source/postgres.h"

/* Memory that an arena of ticks keeps over a reset. */
#define PH_PG_ARENA_KEEP (256 * 1024)

/* Splits the rows that were read by tick, sorts them by (tick, position), drops what lies before
 * the resume point, and decodes them into the batch. */
int ph_pg_batch_group(struct ph_pg_source *s, struct ph_batch *batch,
                      struct ph_error *err) PH_MUST_CHECK;
/* Decodes the rows of one page; whole says that the tick ends here. */
int ph_pg_batch_page(struct ph_pg_source *s, struct ph_batch *batch, bool whole,
                     struct ph_error *err) PH_MUST_CHECK;

#endif
