/*
 * Who acts on the log: the user that the system knows, and the machine.
 * Place: used by the commands that are audited. Promise: always an answer; it is what the system
 * says, not what the environment does.
 */
#include "cli/who.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

void ph_cli_who(char out[PH_WHO_MAX])
{
    char host[HOST_NAME_MAX + 1] = "";
    char room[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof host, "unknown");
    }
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found && *found->pw_name) {
        (void)snprintf(out, PH_WHO_MAX, "%.200s@%s", found->pw_name, host);
    } else {
        (void)snprintf(out, PH_WHO_MAX, "%u@%s", (unsigned)getuid(), host);
    }
}
