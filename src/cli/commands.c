/*
 * The list of all commands, in the order in which help shows them.
 * Place: between main.c, which looks a word up here, and the commands' own files.
 * Promise: a command that is not in this list does not exist.
 */
#include "cli/commands.h"

/* One a line, so that each is an edit of its own. */
/* clang-format off */
const struct ph_command *const ph_commands[] = {
    &ph_cmd_demo,
    &ph_cmd_init,
    &ph_cmd_publish,
    &ph_cmd_run,
    &ph_cmd_config,
    &ph_cmd_status,
    &ph_cmd_verify,
    &ph_cmd_cleanup,
    &ph_cmd_forget,
    &ph_cmd_erase,
    &ph_cmd_dead,
    &ph_cmd_pause,
    &ph_cmd_resume,
    &ph_cmd_reshard,
    &ph_cmd_adopt,
    &ph_cmd_replay,
    &ph_cmd_completion,
    &ph_cmd_help,
    NULL,
};
/* clang-format on */
