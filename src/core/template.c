/*
 * Templates of topics and keys: compiled once at start into literal parts and fields, filled for
 * each event by the route. Promise: a filled template is never empty and never has a hole where a
 * field was absent; such an event is refused by the name of the field.
 */
#include "core/template.h"

#include <assert.h>

#include "base/cleanup.h"

#define TEXT_MAX  4096 /* of a template */
#define PARTS_MAX 64   /* of a template */

enum part_kind {
    PART_LITERAL,
    PART_AGGREGATE_TYPE,
    PART_AGGREGATE_ID,
    PART_EVENT_TYPE,
    PART_HEADER
};

struct part {
    enum part_kind kind;
    struct ph_str text; /* the literal, or the header's name */
};

struct ph_template {
    char *text; /* what the parts are slices of: the template without braces */
    size_t count;
    unsigned kinds; /* a bit for each kind that occurs */
    struct part parts[PARTS_MAX];
};

PH_DEFINE_CLEANUP(template, struct ph_template *, ph_template_free);

/* The template being read, and where its literal text goes. */
struct reader {
    struct ph_str text;
    size_t at;
    char *out;
    struct ph_template *tpl;
};

static const char allowed[] =
    "{aggregate_type}, {aggregate_id}, {event_type} or {header:NAME}; {{ and }} for braces";

static int fail_at(const struct reader *reader, size_t at, const char *what, struct ph_error *err)
{
    return ph_fail(err, PH_E_CONFIG, "\"%.*s\", character %zu: %s; write %s",
                   PH_STR_ARG(reader->text), at + 1, what, allowed);
}

/* A new part; NULL when there are too many. */
static struct part *add_part(struct ph_template *tpl, enum part_kind kind)
{
    if (tpl->count == PARTS_MAX) {
        return NULL;
    }
    struct part *part = &tpl->parts[tpl->count++];
    part->kind = kind;
    part->text = (struct ph_str){NULL, 0};
    tpl->kinds |= 1U << kind;
    return part;
}

/* Adds len bytes to the literal at the end, a new one if there is none. */
static bool add_literal(struct reader *reader, const char *bytes, size_t len)
{
    struct ph_template *tpl = reader->tpl;
    struct part *part = tpl->count > 0 ? &tpl->parts[tpl->count - 1] : NULL;
    if (!part || part->kind != PART_LITERAL) {
        part = add_part(tpl, PART_LITERAL);
        if (!part) {
            return false;
        }
        part->text.ptr = reader->out;
    }
    memcpy(reader->out, bytes, len);
    reader->out += len;
    part->text.len += len;
    return true;
}

static bool field_kind(struct ph_str name, enum part_kind *ret)
{
    static const struct {
        struct ph_str name;
        enum part_kind kind;
    } fields[] = {
        {{"aggregate_type", 14}, PART_AGGREGATE_TYPE},
        {{"aggregate_id", 12}, PART_AGGREGATE_ID},
        {{"event_type", 10}, PART_EVENT_TYPE},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (ph_str_eq(name, fields[i].name)) {
            *ret = fields[i].kind;
            return true;
        }
    }
    *ret = PART_HEADER;
    return name.len > sizeof "header:" - 1 && ph_str_starts(name, PH_STR("header:"));
}

/* The cursor is behind the '{' of a field. */
static int read_field(struct reader *reader, struct ph_error *err)
{
    const char *from = reader->text.ptr + reader->at;
    size_t start = reader->at - 1;
    const char *close = memchr(from, '}', reader->text.len - reader->at);
    if (!close) {
        return fail_at(reader, start, "'{' without '}'", err);
    }
    struct ph_str name = {from, (size_t)(close - from)};
    enum part_kind kind;
    if (!field_kind(name, &kind) || memchr(name.ptr, '{', name.len)) {
        return fail_at(reader, start, "no such field", err);
    }
    struct part *part = add_part(reader->tpl, kind);
    if (!part) {
        return fail_at(reader, start, "too many parts", err);
    }
    if (kind == PART_HEADER) {
        size_t skip = sizeof "header:" - 1;
        part->text = (struct ph_str){reader->out, name.len - skip};
        memcpy(reader->out, name.ptr + skip, part->text.len);
        reader->out += part->text.len;
    }
    reader->at += name.len + 1;
    return 0;
}

/* One brace, doubled brace or run of plain bytes at the cursor. */
static int read_part(struct reader *reader, struct ph_error *err)
{
    size_t start = reader->at;
    const char *at = reader->text.ptr + start;
    size_t left = reader->text.len - start;
    size_t run = 0;
    while (run < left && at[run] != '{' && at[run] != '}') {
        run++;
    }
    if (run == 0 && left >= 2 && at[1] == at[0]) {
        reader->at += 2;
        run = 1;
    } else if (run == 0 && at[0] == '{') {
        reader->at++;
        return read_field(reader, err);
    } else if (run == 0) {
        return fail_at(reader, start, "'}' without '{'", err);
    } else {
        reader->at += run;
    }
    return add_literal(reader, at, run) ? 0 : fail_at(reader, start, "too many parts", err);
}

int ph_template_new(struct ph_str text, struct ph_template **ret, struct ph_error *err)
{
    assert(ret && (text.ptr || text.len == 0));
    if (text.len == 0 || text.len > TEXT_MAX) {
        return ph_fail(err, PH_E_CONFIG, "a template must have 1 to %d characters", TEXT_MAX);
    }
    if (memchr(text.ptr, '\0', text.len)) {
        return ph_fail(err, PH_E_CONFIG, "a template must not hold a zero byte");
    }
    PH_CLEANUP(ph_cleanup_template) struct ph_template *tpl = ph_mem_zero(1, sizeof *tpl);
    if (!tpl || !(tpl->text = ph_mem_alloc(text.len))) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a template");
    }
    struct reader reader = {.text = text, .out = tpl->text, .tpl = tpl};
    while (reader.at < text.len) {
        int rc = read_part(&reader, err);
        if (rc < 0) {
            return rc;
        }
    }
    *ret = tpl;
    tpl = NULL;
    return 0;
}

void ph_template_free(struct ph_template *tpl)
{
    if (tpl) {
        ph_mem_free(tpl->text);
        ph_mem_free(tpl);
    }
}

bool ph_template_needs_headers(const struct ph_template *tpl)
{
    assert(tpl);
    return (tpl->kinds & 1U << PART_HEADER) != 0;
}

bool ph_template_is_aggregate_id(const struct ph_template *tpl)
{
    assert(tpl);
    return tpl->count == 1 && tpl->parts[0].kind == PART_AGGREGATE_ID;
}

bool ph_template_reads_aggregate_id(const struct ph_template *tpl)
{
    assert(tpl);
    return (tpl->kinds & 1U << PART_AGGREGATE_ID) != 0;
}

bool ph_template_by_type(const struct ph_template *tpl)
{
    assert(tpl);
    return (tpl->kinds & (1U << PART_HEADER | 1U << PART_AGGREGATE_ID)) == 0;
}

/* What the fields are taken from. */
struct values {
    const struct ph_event *event;
    const struct ph_header *headers;
    size_t header_count;
};

static struct ph_str header_value(const struct values *from, struct ph_str name)
{
    for (size_t i = 0; i < from->header_count; i++) {
        if (ph_str_eq(from->headers[i].name, name)) {
            return from->headers[i].value;
        }
    }
    return (struct ph_str){NULL, 0};
}

static struct ph_str part_value(const struct part *part, const struct values *from)
{
    switch (part->kind) {
    case PART_LITERAL:
        return part->text;
    case PART_AGGREGATE_TYPE:
        return from->event->aggregate_type;
    case PART_AGGREGATE_ID:
        return from->event->aggregate_id;
    case PART_EVENT_TYPE:
        return from->event->event_type;
    case PART_HEADER:
        break;
    }
    return header_value(from, part->text);
}

static int refuse(const struct part *part, struct ph_str value, struct ph_error *err)
{
    static const char *const names[] = {
        [PART_AGGREGATE_TYPE] = "aggregate_type",
        [PART_AGGREGATE_ID] = "aggregate_id",
        [PART_EVENT_TYPE] = "event_type",
        [PART_HEADER] = "header:",
    };
    return ph_fail(err, PH_E_REFUSED, "{%s%.*s} is %s in this event", names[part->kind],
                   PH_STR_ARG(part->text), value.ptr ? "empty" : "absent");
}

/* The length of all parts together, or PH_E_REFUSED when one is empty. */
static int measure(const struct ph_template *tpl, const struct values *from, size_t *len,
                   struct ph_error *err)
{
    *len = 0;
    for (size_t i = 0; i < tpl->count; i++) {
        struct ph_str value = part_value(&tpl->parts[i], from);
        if (value.len == 0) {
            return refuse(&tpl->parts[i], value, err);
        }
        *len += value.len;
    }
    return 0;
}

int ph_template_fill(const struct ph_template *tpl, struct ph_arena *arena,
                     const struct ph_event *event, const struct ph_header *headers,
                     size_t header_count, struct ph_str *ret, struct ph_error *err)
{
    assert(tpl && tpl->count > 0 && event && ret);
    struct values from = {event, headers, header_count};
    size_t len;
    int rc = measure(tpl, &from, &len, err);
    if (rc < 0) {
        return rc;
    }
    if (tpl->count == 1) {
        *ret = part_value(&tpl->parts[0], &from);
        return 0;
    }
    char *text = ph_arena_alloc(arena, len);
    if (!text) {
        return ph_fail(err, PH_E_NOMEM, "the batch has no room for a text of %zu bytes", len);
    }
    char *at = text;
    for (size_t i = 0; i < tpl->count; i++) {
        struct ph_str value = part_value(&tpl->parts[i], &from);
        memcpy(at, value.ptr, value.len);
        at += value.len;
    }
    *ret = (struct ph_str){text, len};
    return 0;
}
