/* The values that people gave, in the order in which later ones win, each with where it came from.
 */
#ifndef PH_CONFIG_VALUES_H
#define PH_CONFIG_VALUES_H

#include "base/err.h"
#include "base/str.h"

#define PH_VALUES_MAX 20000

/* Texts are owned by the list. */
struct ph_value {
    char *pipeline; /* its name; "" for all of them */
    char *key;      /* "source.poll_max" */
    char *value;
    char *origin; /* "posthorn.yaml:4:17", "POSTHORN_SOURCE_POLL_MAX", "--set" */
};

struct ph_values {
    struct ph_value *items;
    size_t count, cap;
};

/* Copies all four texts to the end of the list. PH_E_NOMEM, PH_E_CONFIG beyond PH_VALUES_MAX. */
int ph_values_add(struct ph_values *values, struct ph_str pipeline, struct ph_str key,
                  struct ph_str value, const char *origin, struct ph_error *err) PH_MUST_CHECK;
/* The last value of a key for this very pipeline (""), or NULL. */
const struct ph_value *ph_values_find(const struct ph_values *values, const char *pipeline,
                                      const char *key);
void ph_values_free(struct ph_values *values);

#endif
