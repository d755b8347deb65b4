/*
 * One option, one table row: the row feeds the parser, --help and the documentation. A table
 * describes a plain config struct; values are stored at the row's offset.
 */
#ifndef PH_CORE_OPTION_H
#define PH_CORE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum ph_option_type {
    PH_OPT_STRING,   /* char *, NULL when not set */
    PH_OPT_INT,      /* int64_t */
    PH_OPT_BOOL,     /* bool */
    PH_OPT_DURATION, /* int64_t, milliseconds */
    PH_OPT_SIZE,     /* int64_t, bytes */
    PH_OPT_ENUM,     /* int, index into the '|'-separated choices */
    PH_OPT_MAP, /* struct ph_option_map; the row's name ends in ".*" and takes any key below it */
};

struct ph_option {
    const char *name; /* relative to the table's prefix: "poll_max" */
    enum ph_option_type type;
    size_t offset;        /* of the value in the config struct */
    const char *fallback; /* the default as text; NULL: unset (zero) */
    /* inclusive, for INT, DURATION (ms), SIZE; max 0 means no bound but the type's */
    int64_t min, max;
    const char *choices; /* for ENUM: "none|json" */
    const char *help;    /* one sentence */
};

/* Tables end with this row. */
#define PH_OPTION_END                                  \
    {                                                  \
        NULL, PH_OPT_STRING, 0, NULL, 0, 0, NULL, NULL \
    }

#define PH_OPTION_MAP_MAX 128

struct ph_option_map {
    char *keys[PH_OPTION_MAP_MAX];
    char *values[PH_OPTION_MAP_MAX];
    size_t count;
};

/* Fills config (zeroed by the caller) with the defaults of the table. */
int ph_options_defaults(const struct ph_option *table, void *config,
                        struct ph_error *err) PH_MUST_CHECK;

/* Sets one value from text. PH_E_CONFIG names the option (as prefix.name), the value and what was
 * expected; for an unknown name it suggests the nearest. prefix is only for messages and may be "".
 */
int ph_option_set(const struct ph_option *table, void *config, const char *prefix,
                  struct ph_str name, struct ph_str value, struct ph_error *err) PH_MUST_CHECK;

/* Frees what the values own. */
void ph_options_free(const struct ph_option *table, void *config);

/* Appends one help line for each row: name, type, default, text. */
void ph_options_help(const struct ph_option *table, const char *prefix, struct ph_buf *out);

/* Appends what a value looks like: "a time with a unit, such as 100ms, 5s, 2m, 1h; from 1ms to 1m".
 */
void ph_option_describe(const struct ph_option *row, struct ph_buf *out);

/* The value of a map entry, or NULL. */
const char *ph_option_map_get(const struct ph_option_map *map, const char *key);

#endif
