/* UUIDs (RFC 9562). */
#ifndef PH_BASE_UUID_H
#define PH_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define PH_UUID_TEXT_LEN 36

struct ph_uuid {
    uint8_t bytes[16];
};

/* Lower-case text, PH_UUID_TEXT_LEN characters and a '\0'. */
void ph_uuid_format(const struct ph_uuid *uuid, char out[PH_UUID_TEXT_LEN + 1]);
/* The 8-4-4-4-12 form, either case; false for anything else. */
bool ph_uuid_parse(struct ph_str text, struct ph_uuid *out) PH_MUST_CHECK;
/* A random one, version 4. */
void ph_uuid_random(struct ph_uuid *out);

#endif
