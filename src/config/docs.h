/* The documentation of the configuration, made from the option tables. */
#ifndef PH_CONFIG_DOCS_H
#define PH_CONFIG_DOCS_H

#include <string.h>

#include "core/option.h"

/* docs/config.md; posthorn.yaml(5) in scdoc's language; the JSON Schema (draft 2020-12) for
 * editors; a file with every option and its default. */
void ph_docs_markdown(struct ph_buf *out);
void ph_docs_man(struct ph_buf *out);
void ph_docs_schema(struct ph_buf *out);
void ph_docs_example(struct ph_buf *out);

/* --- between their files ----------------------------------------------------------------------
 */

/* One table, as the pages show it. */
struct ph_docs_section {
    const char *family; /* "source"; "" for the pipeline's own keys */
    const char *driver; /* the scheme it belongs to, or NULL */
    const char *about;  /* one sentence */
    const struct ph_option *table;
};

/* Section n, in the order of the pages; false behind the last. */
bool ph_docs_section(size_t n, struct ph_docs_section *ret);

/* The keys of a family that no table has. */
struct ph_docs_key {
    const char *family, *name, *type, *help;
};
extern const struct ph_docs_key ph_docs_keys[]; /* ended by a NULL family */

/* A page that shows one section after the other, and in each its keys. */
struct ph_docs_format {
    void (*begin)(struct ph_buf *out, const struct ph_docs_section *section);
    /* value: what one looks like; fallback NULL: none */
    void (*key)(struct ph_buf *out, const char *family, const char *name, const char *value,
                const char *fallback, const char *help);
    void (*end)(struct ph_buf *out);
};

/* Gives every section and key to format, in the order of the pages. */
void ph_docs_walk(struct ph_buf *out, const struct ph_docs_format *format);

#endif
