/* Who acts on the log, for its audit. */
#ifndef PH_CLI_WHO_H
#define PH_CLI_WHO_H

#define PH_WHO_MAX 512

/* "user@host" of the person, or the service, that runs this command; the number of a user without a
 * name. */
void ph_cli_who(char out[PH_WHO_MAX]);

#endif
