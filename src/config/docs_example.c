/* An annotated configuration file: one pipeline, and every option with its default, switched off.
 */
#include "config/docs.h"

static const char introduction[] =
    "# yaml-language-server: $schema=posthorn.schema.json\n"
    "# Every option of posthorn.yaml with its default; made by `posthorn config docs --format "
    "example`.\n"
    "# What is needed stands without a '#'. Check your own with `posthorn config check -c FILE`.\n"
    "pipelines:\n"
    "  orders:\n";

static void put_row(struct ph_buf *out, const struct ph_option *row, const char *indent)
{
    ph_buf_printf(out, "%s# %s\n", indent, row->help);
    if (row->type == PH_OPT_MAP) {
        ph_buf_printf(out, "%s#%.*s: {}\n", indent, (int)strlen(row->name) - 2, row->name);
    } else if (!row->fallback) {
        ph_buf_printf(out, "%s#%s:\n", indent, row->name);
    } else {
        ph_buf_printf(out, "%s#%s: \"%s\"\n", indent, row->name, row->fallback);
    }
}

static void put_section(struct ph_buf *out, const struct ph_docs_section *section, bool first)
{
    bool own = *section->family == '\0';
    const char *indent = own ? "    " : "      ";
    if (first && !own) {
        ph_buf_printf(out, "    %s:\n", section->family);
        bool source = strcmp(section->family, "source") == 0;
        bool sink = strcmp(section->family, "sink") == 0;
        if (source || sink) {
            ph_buf_printf(out, "      uri: \"%s\"\n",
                          source ? "postgresql:///shop" : "kafka://localhost:9092");
        }
    }
    ph_buf_printf(out, "\n%s# -- %s%s%s\n", indent, section->driver ? section->driver : "",
                  section->driver ? ": " : "", section->about);
    for (const struct ph_option *row = section->table; row->name; row++) {
        put_row(out, row, indent);
    }
}

/* The families with values first, so that the needed lines stand on top. */
void ph_docs_example(struct ph_buf *out)
{
    static const char *const families[] = {"source", "sink", "match", "route", "retry", ""};
    ph_buf_puts(out, introduction);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct ph_docs_section section;
        bool first = true;
        for (size_t n = 0; ph_docs_section(n, &section); n++) {
            if (strcmp(section.family, families[i]) == 0) {
                put_section(out, &section, first);
                first = false;
            }
        }
    }
}
