/*
 * Failpoints: named places of the program at which a fault test lets it die, and defences which a
 * fault test switches off to see that they are needed. They exist only in a build with the Meson
 * option failpoints; in every other build the macros are nothing and no symbol of this file is in
 * the program.
 *
 *   POSTHORN_FAILPOINTS=NAME=kill[@N][,NAME=off...]    SIGKILL to itself at the N-th hit; a defence
 * off POSTHORN_FAILPOINTS_LOG=FILE                       a line NAME at each point's first hit, and
 *                                                      NAME=kill@N before that kill
 */
#ifndef PH_BASE_FAILPOINT_H
#define PH_BASE_FAILPOINT_H

#include <stdbool.h>

#include "base/err.h"

#ifdef PH_FAILPOINTS
#define PH_FAILPOINT(name)       ph_failpoint_hit(name)
#define PH_FAILPOINT_OFF(name)   ph_failpoint_off(name)
#define PH_FAILPOINTS_SETUP(err) ph_failpoint_setup(err)
#else
#define PH_FAILPOINT(name)       ((void)(name))
#define PH_FAILPOINT_OFF(name)   ph__is_never(name)
#define PH_FAILPOINTS_SETUP(err) ((void)(err), 0)
#endif

/* In a build without them: false, which clang must not take for a constant. */
static inline bool ph__is_never(const char *name)
{
    (void)name;
    return false;
}

/* What the macros call. */

/* Reads the environment, once, before a second thread runs. PH_E_CONFIG for a name that is not in
 * the table, for wrong syntax, and for a log file that cannot be opened. */
int ph_failpoint_setup(struct ph_error *err) PH_MUST_CHECK;
/* The text of POSTHORN_FAILPOINTS. PH_E_CONFIG as above. */
int ph_failpoint_arm(const char *text, struct ph_error *err) PH_MUST_CHECK;
/* The file that tells what was hit; made when it is not there. */
int ph_failpoint_log(const char *path, struct ph_error *err) PH_MUST_CHECK;
/* The program is at this point of the table; it does not return from an armed one. */
void ph_failpoint_hit(const char *name);
/* Whether this defence of the table was switched off. */
bool ph_failpoint_off(const char *name);

#endif
