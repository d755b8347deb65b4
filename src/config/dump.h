/* The configuration as it holds, for a person. */
#ifndef PH_CONFIG_DUMP_H
#define PH_CONFIG_DUMP_H

#include "config/config.h"

/* Writes every value of every pipeline as YAML that can be read again, each with its origin as a
 * comment; secrets are written as ***. */
void ph_config_dump(const struct ph_config *config, struct ph_buf *out);

#endif
