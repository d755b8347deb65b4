/*
 * The configuration file: a small part of YAML 1.1 (https://yaml.org/spec/1.1/), read by libyaml.
 *     pipelines: {NAME: {source: {uri: ...}, sink: {uri: ...}, KEY: VALUE, ...}, ...}
 *     defaults:  {KEY: VALUE, ...}      for all pipelines
 * Nested mappings and dotted keys are the same; the items of a list have the keys 0, 1, ...
 */
#ifndef PH_CONFIG_DOCUMENT_H
#define PH_CONFIG_DOCUMENT_H

#include "base/buf.h"
#include "config/values.h"

#define PH_DOCUMENT_BYTES_MAX ((size_t)1 << 20)
#define PH_DOCUMENT_DEPTH_MAX 16

/* The names of a file's pipelines, in its order. */
struct ph_document_names {
    char **names;
    size_t count;
};

/* Reads text, the content of the file called name, into values and names. Every mistake of form
 * becomes a line "NAME:LINE:COLUMN: ..." in problems; the answer is then PH_E_CONFIG. Refused are
 * anchors, aliases, tags, doubled keys, several documents, and what is no UTF-8. */
int ph_document_parse(const char *name, struct ph_str text, struct ph_values *values,
                      struct ph_document_names *names, struct ph_buf *problems) PH_MUST_CHECK;
void ph_document_names_free(struct ph_document_names *names);

#endif
