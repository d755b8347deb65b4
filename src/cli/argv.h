/* The words that the system shows to everybody (ps, /proc): copied, and what is secret overwritten.
 */
#ifndef PH_CLI_ARGV_H
#define PH_CLI_ARGV_H

#include <stdbool.h>

#include "base/err.h"

struct ph_argv {
    int count;
    char **words;  /* copies, ended by NULL */
    bool scrubbed; /* a secret was among them */
};

/* Copies the words and overwrites, in the system's copy, those that carry a password. */
int ph_argv_take(struct ph_argv *out, int argc, char **argv, struct ph_error *err) PH_MUST_CHECK;
void ph_argv_free(struct ph_argv *args);

#endif
