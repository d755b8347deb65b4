/*
 * Positions as text, and checkpoints that own their texts. Sources hand out checkpoints whose texts
 * live until the next call; whoever needs one longer keeps it here.
 * Promise: a keep that fails leaves what was kept before; keeping what is kept already is safe.
 */
#include "core/checkpoint.h"

#include <assert.h>

#include "base/sys.h"

#define DIGITS_MAX 20 /* of INT64_MIN with its sign */

/* Writes value at out; the end of it. */
static char *put_i64(char *out, int64_t value)
{
    char digits[DIGITS_MAX];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    memcpy(out, digits + at, sizeof digits - at);
    return out + (sizeof digits - at);
}

size_t ph_position_format(struct ph_position at, char out[PH_POSITION_TEXT_MAX])
{
    assert(out);
    char *end = put_i64(out, at.tick);
    *end++ = '-';
    end = put_i64(end, at.position);
    *end = '\0';
    return (size_t)(end - out);
}

bool ph_position_parse(struct ph_str text, struct ph_position *out)
{
    assert(out);
    const char *dash = text.len > 0 ? memchr(text.ptr, '-', text.len) : NULL;
    if (!dash) {
        return false;
    }
    struct ph_str tick = {text.ptr, (size_t)(dash - text.ptr)};
    struct ph_str position = {dash + 1, text.len - tick.len - 1};
    struct ph_position at;
    bool negative =
        position.len > 0 && position.ptr[0] == '-'; /* of a tick, the sign is the dash */
    if (negative || !ph_str_i64(tick, &at.tick) || !ph_str_i64(position, &at.position)) {
        return false;
    }
    *out = at;
    return true;
}

/* Whether the text lies, whole or in part, in the kept ones. */
static bool lies_in(const struct ph_checkpoint_kept *kept, struct ph_str text)
{
    uintptr_t at = (uintptr_t)text.ptr, start = (uintptr_t)kept->text;
    return text.len > 0 && kept->text && at >= start && at < start + kept->size;
}

/* A copy of text at *at, which moves behind it. */
static struct ph_str put_text(char **at, struct ph_str text)
{
    struct ph_str copy = {text.ptr ? *at : NULL, text.len};
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
        *at += text.len;
    }
    return copy;
}

int ph_checkpoint_keep(struct ph_checkpoint_kept *kept, const struct ph_checkpoint *cp,
                       struct ph_error *err)
{
    assert(kept && cp);
    size_t need =
        cp->snapshot.len + cp->base_snapshot.len + cp->start_snapshot.len + cp->log.len + 1;
    bool move = need > kept->size || lies_in(kept, cp->snapshot) ||
                lies_in(kept, cp->base_snapshot) || lies_in(kept, cp->start_snapshot) ||
                lies_in(kept, cp->log);
    char *text = move ? ph_mem_alloc(need) : kept->text;
    if (!text) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a checkpoint of %zu bytes", need);
    }
    struct ph_checkpoint copy = *cp;
    char *at = text;
    copy.snapshot = put_text(&at, cp->snapshot);
    copy.base_snapshot = put_text(&at, cp->base_snapshot);
    copy.start_snapshot = put_text(&at, cp->start_snapshot);
    copy.log = put_text(&at, cp->log);
    if (move) {
        ph_mem_free(kept->text);
        kept->text = text;
        kept->size = need;
    }
    kept->cp = copy;
    kept->set = true;
    return 0;
}

void ph_checkpoint_kept_free(struct ph_checkpoint_kept *kept)
{
    if (kept) {
        ph_mem_free(kept->text);
        *kept = (struct ph_checkpoint_kept){0};
    }
}
