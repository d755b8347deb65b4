/*
 * Values from the environment. POSTHORN_<KEY> is for all pipelines, POSTHORN_<PIPELINE>__<KEY> (two
 * underscores) for one; names are written in capitals, and what is no letter or digit as '_':
 * POSTHORN_SOURCE_POLL_MAX, POSTHORN_ORDERS__SINK_KAFKA_LINGER_MS. Behind a map the '_' of a
 * variable stand for dots. Other names that begin with POSTHORN_ are left alone, unless they look
 * like a mistake. OUTBOX_POLL_INTERVAL (ms), OUTBOX_BATCH_SIZE, OUTBOX_RETENTION_DAYS and
 * OUTBOX_ENABLED are taken as other products name them.
 */
#ifndef PH_CONFIG_ENVIRONMENT_H
#define PH_CONFIG_ENVIRONMENT_H

#include "base/buf.h"
#include "config/values.h"

struct ph_environment_args {
    char *const *environ;
    const char *const *names; /* of the pipelines */
    size_t name_count;
};

/* Appends the values to out. Mistakes become lines in problems, by the name of the variable. */
int ph_environment_read(const struct ph_environment_args *args, struct ph_values *out,
                        bool *ret_disabled, struct ph_buf *problems) PH_MUST_CHECK;

#endif
