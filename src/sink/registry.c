/*
 * All sink drivers, and which of them a URI means: the one that has the URI's scheme for its name.
 */
#include "core/sink.h"

#include <assert.h>

#include "sink/file.h"
#include "sink/memory.h"

#ifdef PH_HAVE_KAFKA
extern const struct ph_sink_driver ph_sink_kafka;
#endif
extern const struct ph_sink_driver ph_sink_stdout;

const struct ph_sink_driver *const ph_sink_drivers[] = {
#ifdef PH_HAVE_KAFKA
    &ph_sink_kafka,
#endif
    &ph_sink_file,  &ph_sink_stdout, &ph_sink_memory, NULL,
};

const struct ph_sink_driver *ph_sink_find(const char *uri)
{
    assert(uri);
    const char *colon = strchr(uri, ':');
    struct ph_str scheme = {uri, colon ? (size_t)(colon - uri) : 0};
    for (size_t i = 0; colon && ph_sink_drivers[i]; i++) {
        if (ph_str_is(scheme, ph_sink_drivers[i]->name)) {
            return ph_sink_drivers[i];
        }
    }
    return NULL;
}
