/*
 * Turns the events of libyaml's parser into values with their places.
 * Place: the first of the three origins; what the keys mean is settings' business.
 * Promise: nothing is taken that YAML lets mean two things: no anchors, no tags, no key twice. The
 * depth, the size and the number of values are bounded before libyaml sees the text.
 */
#include "config/document.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/sys.h"

#define PATH_LEN_MAX 512

/* Where the reader stands: the keys from the root on, "pipelines", "orders", "source", "uri". */
struct frame {
    bool sequence;
    size_t index;    /* of the next item of a sequence */
    size_t path_len; /* of the path without this frame's key */
    bool has_key;    /* a mapping's key was read, its value comes next */
    yaml_mark_t key_at;
    bool repeated; /* its key, or one above, was there before, which has been said */
};

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct ph_values *values;
    struct ph_document_names *names;
    struct ph_values seen; /* paths of keys with no single value behind them, and their places */
    struct ph_buf *problems;
    struct frame frames[PH_DOCUMENT_DEPTH_MAX];
    size_t depth;
    char path[PATH_LEN_MAX]; /* keys joined by '\n', which no key holds */
    size_t path_len;
    size_t documents;
    bool stop; /* what follows would only repeat the mistake */
    int code;  /* the first failure */
};

static void report(struct reader *r, yaml_mark_t at, int code, const char *text)
{
    r->code = r->code == 0 ? code : r->code;
    ph_buf_printf(r->problems, "%s:%zu:%zu: %s\n", r->name, at.line + 1, at.column + 1, text);
}

/* --- the path ----------------------------------------------------------------------------------
 */

static bool push_key(struct reader *r, struct ph_str key)
{
    if (r->path_len + key.len + 1 >= PATH_LEN_MAX) {
        return false;
    }
    if (r->path_len > 0) {
        r->path[r->path_len++] = '\n';
    }
    memcpy(r->path + r->path_len, key.ptr, key.len);
    r->path_len += key.len;
    r->path[r->path_len] = '\0';
    return true;
}

static void pop_key(struct reader *r, size_t path_len)
{
    r->path_len = path_len;
    r->path[path_len] = '\0';
}

static struct frame *top(struct reader *r)
{
    return r->depth > 0 ? &r->frames[r->depth - 1] : NULL;
}

/* Cuts the first key off a path. */
static struct ph_str cut_key(struct ph_str *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
    struct ph_str key = {rest->ptr, len};
    *rest = end ? (struct ph_str){end + 1, rest->len - len - 1} : (struct ph_str){"", 0};
    return key;
}

/* --- values ------------------------------------------------------------------------------------
 */

static bool known_name(const struct ph_document_names *names, struct ph_str name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (ph_str_is(name, names->names[i])) {
            return true;
        }
    }
    return false;
}

static int keep_name(struct ph_document_names *names, struct ph_str name)
{
    if (known_name(names, name)) {
        return 0;
    }
    char **grown = ph_mem_resize(names->names, (names->count + 1) * sizeof *grown);
    if (!grown) {
        return PH_E_NOMEM;
    }
    names->names = grown;
    char *copy = ph_mem_zero(1, name.len + 1);
    if (!copy) {
        return PH_E_NOMEM;
    }
    memcpy(copy, name.ptr, name.len);
    names->names[names->count++] = copy;
    return 0;
}

static void add_value(struct reader *r, struct ph_str pipeline, struct ph_str path,
                      struct ph_str value, yaml_mark_t at)
{
    char key[PATH_LEN_MAX], origin[PATH_LEN_MAX];
    memcpy(key, path.ptr, path.len);
    key[path.len] = '\0';
    for (char *c = strchr(key, '\n'); c; c = strchr(c, '\n')) {
        *c = '.';
    }
    char name[PATH_LEN_MAX];
    (void)snprintf(name, sizeof name, "%.*s", PH_STR_ARG(pipeline));
    const struct ph_value *twin = ph_values_find(r->values, name, key);
    if (twin && top(r) && top(r)->repeated) {
        return;
    }
    if (twin) {
        char text[2 * PATH_LEN_MAX];
        (void)snprintf(text, sizeof text, "%s is given twice; the first one is at %s", key,
                       twin->origin);
        report(r, at, PH_E_CONFIG, text);
        return;
    }
    (void)snprintf(origin, sizeof origin, "%s:%zu:%zu", r->name, at.line + 1, at.column + 1);
    struct ph_error err = {0};
    int rc = ph_values_add(r->values, pipeline, ph_str_from(key), value, origin, &err);
    if (rc < 0) {
        report(r, at, rc, err.text);
    }
}

/* A value at the present path: pipelines / NAME / KEY..., or defaults / KEY... */
static void take_value(struct reader *r, struct ph_str value, yaml_mark_t at)
{
    struct ph_str path = {r->path, r->path_len};
    struct ph_str section = cut_key(&path);
    struct ph_str pipeline = {"", 0};
    if (ph_str_is(section, "pipelines")) {
        pipeline = cut_key(&path);
    } else if (!ph_str_is(section, "defaults")) {
        report(r, at, PH_E_CONFIG,
               "expected pipelines or defaults at the top of the file, and a mapping below it");
        return;
    }
    if (path.len == 0) {
        report(r, at, PH_E_CONFIG,
               "expected a mapping here, such as source: {uri: ...}, not one value");
        return;
    }
    add_value(r, pipeline, path, value, at);
}

/* --- events ------------------------------------------------------------------------------------
 */

/* What comes next stands in the place of a value: a sequence's next item gets its number. */
static void enter_item(struct reader *r)
{
    struct frame *frame = top(r);
    if (frame && frame->sequence) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", frame->index++);
        (void)push_key(r, ph_str_from(number));
    }
}

static void leave_item(struct reader *r)
{
    struct frame *frame = top(r);
    if (frame) {
        pop_key(r, frame->path_len);
        frame->has_key = false;
    }
}

/* The present path is that of a pipeline, perhaps. */
static void note_pipeline(struct reader *r, yaml_mark_t at)
{
    struct ph_str path = {r->path, r->path_len};
    struct ph_str section = cut_key(&path);
    if (ph_str_is(section, "pipelines") && keep_name(r->names, path) < 0) {
        report(r, at, PH_E_NOMEM, "no memory for the configuration");
    }
}

/* The key just read has a mapping, a list or nothing behind it: not twice, since two mappings would
 * become one that nobody wrote. True when it is, or is below one that is. */
static bool note_key(struct reader *r)
{
    const struct frame *frame = top(r);
    if (!frame || frame->sequence || frame->repeated) {
        return frame && frame->repeated;
    }
    if (r->path_len == frame->path_len) {
        return false; /* the key was too long to keep, which has been said */
    }
    yaml_mark_t at = frame->key_at;
    const struct ph_value *twin = ph_values_find(&r->seen, "", r->path);
    char text[2 * PATH_LEN_MAX];
    if (twin) {
        (void)snprintf(text, sizeof text, "%s is given twice; the first one is at %s",
                       r->path + frame->path_len + (frame->path_len > 0), twin->origin);
        report(r, at, PH_E_CONFIG, text);
        return true;
    }
    struct ph_error err = {0};
    (void)snprintf(text, sizeof text, "%s:%zu:%zu", r->name, at.line + 1, at.column + 1);
    int rc = ph_values_add(&r->seen, PH_STR(""), (struct ph_str){r->path, r->path_len}, PH_STR(""),
                           text, &err);
    if (rc < 0) {
        report(r, at, rc, err.text);
    }
    return false;
}

static void open_frame(struct reader *r, bool sequence, yaml_mark_t at)
{
    enter_item(r);
    bool repeated = note_key(r);
    if (r->depth == PH_DOCUMENT_DEPTH_MAX) {
        report(r, at, PH_E_CONFIG, "nested too deep");
        r->stop = true;
        return;
    }
    r->frames[r->depth++] =
        (struct frame){.sequence = sequence, .path_len = r->path_len, .repeated = repeated};
    if (r->depth == 3) {
        note_pipeline(r, at);
    }
}

static void close_frame(struct reader *r)
{
    r->depth--;
    leave_item(r);
}

static void take_key(struct reader *r, struct frame *frame, struct ph_str key, yaml_mark_t at)
{
    frame->has_key = true;
    frame->key_at = at;
    if (key.len == 0 || memchr(key.ptr, '\n', key.len)) {
        report(r, at, PH_E_CONFIG, "a key must be one word");
        key = PH_STR("?");
    }
    if (!push_key(r, key)) {
        report(r, at, PH_E_CONFIG, "the keys down to here are too long");
    }
}

/* "~", "null" and nothing at all, unquoted: the key is there without a value. */
static bool is_null(const yaml_event_t *event, struct ph_str text)
{
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.len == 0 || ph_str_is(text, "~") || ph_str_is(text, "null"));
}

static void on_scalar(struct reader *r, const yaml_event_t *event)
{
    struct ph_str text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    struct frame *frame = top(r);
    if (event->data.scalar.anchor || event->data.scalar.tag) {
        report(r, event->start_mark, PH_E_CONFIG, "anchors and tags are not allowed here");
    }
    if (frame && !frame->sequence && !frame->has_key) {
        take_key(r, frame, text, event->start_mark);
        return;
    }
    enter_item(r);
    if (!is_null(event, text)) {
        take_value(r, text, event->start_mark);
    } else {
        (void)note_key(r);
        if (r->depth == 2) {
            note_pipeline(r, event->start_mark); /* "orders:" and nothing behind it */
        }
    }
    leave_item(r);
}

static void on_container(struct reader *r, const yaml_event_t *event, bool sequence)
{
    const struct frame *frame = top(r);
    const yaml_char_t *anchor =
        sequence ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    const yaml_char_t *tag =
        sequence ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    if (anchor || tag) {
        report(r, event->start_mark, PH_E_CONFIG, "anchors and tags are not allowed here");
    }
    if (frame && !frame->sequence && !frame->has_key) {
        report(r, event->start_mark, PH_E_CONFIG, "a key must be one word");
        r->stop = true;
        return;
    }
    if (!frame && sequence) {
        report(r, event->start_mark, PH_E_CONFIG, "expected pipelines: at the top of the file");
    }
    open_frame(r, sequence, event->start_mark);
}

static void on_event(struct reader *r, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++r->documents > 1) {
            report(r, event->start_mark, PH_E_CONFIG, "a second document is not allowed");
        }
        break;
    case YAML_ALIAS_EVENT:
        report(r, event->start_mark, PH_E_CONFIG, "aliases are not allowed: write the value out");
        enter_item(r);
        leave_item(r);
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(r, event);
        break;
    case YAML_MAPPING_START_EVENT:
        on_container(r, event, false);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_container(r, event, true);
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        close_frame(r);
        break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
}

static void report_syntax(struct reader *r)
{
    char text[256];
    (void)snprintf(text, sizeof text, "not YAML: %s%s%s",
                   r->parser.context ? r->parser.context : "", r->parser.context ? ", " : "",
                   r->parser.problem ? r->parser.problem : "out of memory");
    report(r, r->parser.problem_mark, PH_E_CONFIG, text);
}

static void read_events(struct reader *r)
{
    bool more = true;
    while (more) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) {
            report_syntax(r);
            return;
        }
        on_event(r, &event);
        more = event.type != YAML_STREAM_END_EVENT && !r->stop;
        yaml_event_delete(&event);
    }
}

/* A zero byte is UTF-8 too, but no text. */
static bool is_text(struct ph_str bytes)
{
    return ph_str_utf8(bytes) && !(bytes.len > 0 && memchr(bytes.ptr, '\0', bytes.len));
}

/* The line of the first byte that is no text. */
static yaml_mark_t place_of_bad_byte(struct ph_str text)
{
    yaml_mark_t at = {0};
    const char *line = text.ptr;
    for (const char *c = text.ptr; c < text.ptr + text.len; c++) {
        if (*c == '\n') {
            if (!is_text((struct ph_str){line, (size_t)(c - line)})) {
                return at;
            }
            at.line++;
            line = c + 1;
        }
    }
    return at;
}

int ph_document_parse(const char *name, struct ph_str text, struct ph_values *values,
                      struct ph_document_names *names, struct ph_buf *problems)
{
    struct reader *r = ph_mem_zero(1, sizeof *r);
    if (!r || !yaml_parser_initialize(&r->parser)) {
        ph_mem_free(r);
        ph_buf_puts(problems, "out of memory\n");
        return PH_E_NOMEM;
    }
    r->name = name;
    r->values = values;
    r->names = names;
    r->problems = problems;
    if (text.len > PH_DOCUMENT_BYTES_MAX) {
        report(r, (yaml_mark_t){0}, PH_E_CONFIG, "the file is larger than 1 MiB");
    } else if (!is_text(text)) {
        report(r, place_of_bad_byte(text), PH_E_CONFIG, "not UTF-8 text");
    } else {
        yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r->parser, (const yaml_char_t *)text.ptr, text.len);
        read_events(r);
    }
    int code = r->code;
    yaml_parser_delete(&r->parser);
    ph_values_free(&r->seen);
    ph_mem_free(r);
    return code;
}

void ph_document_names_free(struct ph_document_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        ph_mem_free(names->names[i]);
    }
    ph_mem_free(names->names);
    *names = (struct ph_document_names){0};
}
