/* posthorn.yaml(5), in scdoc's language. */
#include "config/docs.h"

#define SPECIAL "\\*_#`<>[]|+~.-" /* what scdoc may read itself; '\' takes any of them as it is */

static const char introduction[] =
    "posthorn.yaml(5) \"posthorn " PH_VERSION "\" \"Posthorn\"\n\n"
    "# NAME\n\nposthorn.yaml - the pipelines of the relay posthorn\n\n"
    "# SYNOPSIS\n\n*posthorn run -c* _FILE_++\n*posthorn config check -c* _FILE_\n\n"
    "# DESCRIPTION\n\n"
    "A YAML file with two keys: *pipelines*, a mapping from names to pipelines, and *defaults*, "
    "values for all of them. Nested mappings and dotted keys are the same. Values come from the "
    "defaults of the program, this file, the environment (*POSTHORN\\_*_KEY_ for all pipelines, "
    "*POSTHORN\\_*_PIPELINE_*\\_\\_*_KEY_ for one) and *--set*; the last one wins. *posthorn "
    "config "
    "dump* shows what holds, and why.\n\n"
    "# EXAMPLE\n\n```\n"
    "pipelines:\n"
    "  orders:\n"
    "    source: {uri: \"postgresql:///shop\", poll_max: 20ms}\n"
    "    sink: {uri: \"kafka://broker:9092\", kafka: {compression.type: zstd}}\n"
    "    match: {event_type: \"Order*|Refund\"}\n"
    "    route: {topic: \"shop.{aggregate_type}\"}\n"
    "```\n\n"
    "# SECRETS\n\n"
    "*uri\\_file* names a file that holds the URI, and so does _KEY_*\\_file* for every option "
    "whose "
    "name speaks of a secret. A relative path is looked up in *$CREDENTIALS\\_DIRECTORY* first, "
    "then in the working "
    "directory. A "
    "configuration file that every user can read must hold no secret.\n\n";

static void put_text(struct ph_buf *out, const char *text)
{
    for (; *text; text++) {
        if (strchr(SPECIAL, *text)) {
            ph_buf_putc(out, '\\');
        }
        ph_buf_putc(out, *text);
    }
}

static void put_key(struct ph_buf *out, const char *family, const char *name, const char *value,
                    const char *fallback, const char *help)
{
    ph_buf_putc(out, '*');
    put_text(out, family);
    ph_buf_puts(out, *family ? "\\." : "");
    put_text(out, name);
    ph_buf_puts(out, "*\n\t");
    put_text(out, help);
    ph_buf_puts(out, ". ");
    put_text(out, value);
    if (fallback) {
        ph_buf_puts(out, "; default ");
        put_text(out, *fallback ? fallback : "empty");
    }
    ph_buf_puts(out, "\n\n");
}

static void begin_section(struct ph_buf *out, const struct ph_docs_section *section)
{
    const char *title = *section->family ? section->family : "pipeline";
    ph_buf_puts(out, "# ");
    for (const char *c = title; *c; c++) {
        ph_buf_putc(out, (char)(*c - 'a' + 'A'));
    }
    if (section->driver) {
        ph_buf_printf(out, " %s", section->driver);
    }
    ph_buf_puts(out, "\n\n");
    put_text(out, section->about);
    ph_buf_puts(out, "\n\n");
}

static void end_section(struct ph_buf *out)
{
    (void)out;
}

void ph_docs_man(struct ph_buf *out)
{
    static const struct ph_docs_format format = {begin_section, put_key, end_section};
    ph_buf_puts(out, introduction);
    ph_docs_walk(out, &format);
    ph_buf_puts(out, "# SEE ALSO\n\n*posthorn*(1)\n");
}
