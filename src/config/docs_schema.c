/*
 * The JSON Schema of the configuration file (https://json-schema.org/draft/2020-12), for editors.
 * It knows the options of all drivers at once; `config check` knows which of them go together.
 */
#include <inttypes.h>

#include "base/json.h"
#include "config/docs.h"

static void put_text_member(struct ph_buf *out, const char *name, const char *text)
{
    ph_json_put_member(out, name, ph_str_from(text));
}

static void put_choices(struct ph_buf *out, const char *choices)
{
    ph_json_put_name(out, "enum");
    ph_buf_putc(out, '[');
    while (*choices) {
        size_t len = strcspn(choices, "|");
        ph_json_put_string(out, (struct ph_str){choices, len});
        choices += len;
        if (*choices) {
            choices++;
            ph_buf_putc(out, ',');
        }
    }
    ph_buf_putc(out, ']');
}

static void put_type(struct ph_buf *out, const struct ph_option *row)
{
    switch (row->type) {
    case PH_OPT_STRING:
        put_text_member(out, "type", "string");
        break;
    case PH_OPT_INT:
        put_text_member(out, "type", "integer");
        ph_json_put_member_i64(out, "minimum", row->min);
        if (row->max != 0) {
            ph_json_put_member_i64(out, "maximum", row->max);
        }
        break;
    case PH_OPT_BOOL:
        put_text_member(out, "type", "boolean");
        break;
    case PH_OPT_DURATION:
        put_text_member(out, "type", "string");
        put_text_member(out, "pattern", "^[0-9]+(ms|s|m|h|d)$|^0$");
        break;
    case PH_OPT_SIZE:
        ph_buf_puts(out, out->ptr[out->len - 1] == '{' ? "" : ",");
        ph_buf_puts(out, "\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},"
                         "{\"type\":\"string\",\"pattern\":\"^[0-9]+(B|KiB|MiB|GiB)?$\"}]");
        break;
    case PH_OPT_ENUM:
        put_choices(out, row->choices);
        break;
    case PH_OPT_MAP:
        put_text_member(out, "type", "object");
        break;
    }
}

static void put_property(struct ph_buf *out, const char *name, size_t len)
{
    ph_buf_puts(out, out->ptr[out->len - 1] == '{' ? "" : ",");
    ph_json_put_string(out, (struct ph_str){name, len});
    ph_buf_puts(out, ":{");
}

static void put_row(struct ph_buf *out, const struct ph_option *row)
{
    size_t len = strlen(row->name) - (row->type == PH_OPT_MAP ? 2 : 0);
    put_property(out, row->name, len);
    put_type(out, row);
    put_text_member(out, "description", row->help);
    if (row->fallback && (row->type == PH_OPT_INT || row->type == PH_OPT_BOOL)) {
        ph_json_put_name(out, "default");
        ph_buf_puts(out, row->fallback);
    } else if (row->fallback) {
        put_text_member(out, "default", row->fallback);
    }
    ph_buf_putc(out, '}');
}

/* Whether a section before section n of the same family has an option of that name: several drivers
 * share some, and the first one describes it. */
static bool had(size_t n, const char *family, const char *name)
{
    struct ph_docs_section section;
    for (size_t i = 0; i < n && ph_docs_section(i, &section); i++) {
        for (const struct ph_option *row = section.table;
             strcmp(section.family, family) == 0 && row->name; row++) {
            if (strcmp(row->name, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void put_rows(struct ph_buf *out, const char *family)
{
    struct ph_docs_section section;
    for (size_t n = 0; ph_docs_section(n, &section); n++) {
        for (const struct ph_option *row = section.table;
             strcmp(section.family, family) == 0 && row->name; row++) {
            if (!had(n, family, row->name)) {
                put_row(out, row);
            }
        }
    }
}

static void put_family(struct ph_buf *out, const char *family)
{
    put_property(out, family, strlen(family));
    ph_buf_puts(out, "\"type\":[\"object\",\"null\"],\"additionalProperties\":false,"
                     "\"patternProperties\":{\"^[a-z_]+\\\\.\":{}},"
                     "\"properties\":{");
    for (const struct ph_docs_key *key = ph_docs_keys; key->family; key++) {
        if (strcmp(key->family, family) == 0) {
            put_property(out, key->name, strlen(key->name));
            put_text_member(out, "type", strcmp(key->type, "list") == 0 ? "array" : "string");
            put_text_member(out, "description", key->help);
            ph_buf_putc(out, '}');
        }
    }
    put_rows(out, family);
    ph_buf_puts(out, "}}");
}

void ph_docs_schema(struct ph_buf *out)
{
    static const char *const families[] = {"source", "sink", "match", "route", "retry"};
    ph_buf_puts(
        out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
             "\"title\":\"posthorn.yaml\",\"type\":\"object\","
             "\"required\":[\"pipelines\"],\"additionalProperties\":false,"
             "\"properties\":{\"defaults\":{\"$ref\":\"#/$defs/values\"},"
             "\"pipelines\":{\"type\":\"object\",\"minProperties\":1,"
             "\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9_.-]{1,63}$\"},"
             "\"additionalProperties\":{\"$ref\":\"#/$defs/values\"}}},"
             "\"$defs\":{\"values\":{\"type\":[\"object\",\"null\"],\"additionalProperties\":false,"
             "\"patternProperties\":{\"^(source|sink|match|route|retry)\\\\.\":{}},"
             "\"properties\":{");
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        put_family(out, families[i]);
    }
    put_rows(out, "");
    ph_buf_puts(out, "}}}}\n");
}
