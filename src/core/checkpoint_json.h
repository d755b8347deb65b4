/*
 * A checkpoint as the text that sinks keep beside the events they hold:
 *
 *   {"version":1,"serial":N,"tick":N,"position":N,"snapshot":"...","base_snapshot":"...",
 *    "start_snapshot":"...","log":"...","timeline":N,"epoch":N}
 *
 * The serial grows by one with each that is stored, so that a writer who does not know what became
 * of its last one can tell. Members of a later version that are not known here are passed over.
 */
#ifndef PH_CORE_CHECKPOINT_JSON_H
#define PH_CORE_CHECKPOINT_JSON_H

#include "base/arena.h"
#include "core/checkpoint.h"

/* Appends the text of cp; of in_sink and sink_at it holds nothing. */
void ph_checkpoint_json(const struct ph_checkpoint *cp, int64_t serial, struct ph_buf *out);

/* Reads one back; its texts lie in `text` or in the arena. PH_E_DATA names what is wrong without
 * quoting it. */
int ph_checkpoint_json_parse(struct ph_str text, struct ph_arena *arena, struct ph_checkpoint *ret,
                             int64_t *ret_serial, struct ph_error *err) PH_MUST_CHECK;

#endif
