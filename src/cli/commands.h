/* Every command of posthorn, one file each; commands.c lists them. */
#ifndef PH_CLI_COMMANDS_H
#define PH_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct ph_command ph_cmd_init;
extern const struct ph_command ph_cmd_publish;
extern const struct ph_command ph_cmd_run;
extern const struct ph_command ph_cmd_config;
extern const struct ph_command ph_cmd_demo;
extern const struct ph_command ph_cmd_status;
extern const struct ph_command ph_cmd_verify;
extern const struct ph_command ph_cmd_cleanup;
extern const struct ph_command ph_cmd_forget;
extern const struct ph_command ph_cmd_erase;
extern const struct ph_command ph_cmd_dead;
extern const struct ph_command ph_cmd_pause;
extern const struct ph_command ph_cmd_resume;
extern const struct ph_command ph_cmd_reshard;
extern const struct ph_command ph_cmd_adopt;
extern const struct ph_command ph_cmd_replay;
extern const struct ph_command ph_cmd_completion;
extern const struct ph_command ph_cmd_help;

#endif
