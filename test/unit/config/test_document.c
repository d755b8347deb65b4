/* The configuration file: what its forms mean, where a value stands, and what is refused. */
#include "unit.h"

#include "config/document.h"

struct fixture {
    struct ph_values values;
    struct ph_document_names names;
    struct ph_buf problems;
    int rc;
};

static void parse(struct fixture *f, const char *text)
{
    *f = (struct fixture){.rc = 0};
    ph_buf_init(&f->problems, 65536);
    f->rc = ph_document_parse("f.yaml", ph_str_from(text), &f->values, &f->names, &f->problems);
}

static void drop(struct fixture *f)
{
    ph_values_free(&f->values);
    ph_document_names_free(&f->names);
    ph_buf_free(&f->problems);
}

static void has(const struct fixture *f, const char *pipeline, const char *key, const char *value,
                const char *origin)
{
    const struct ph_value *found = ph_values_find(&f->values, pipeline, key);
    assert_non_null(found);
    assert_string_equal(found->value, value);
    assert_string_equal(found->origin, origin);
}

static void nested_and_dotted_are_the_same(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "pipelines:\n"
              "  a.b:\n"
              "    source:\n"
              "      uri: 'x: y'\n"
              "    sink.kafka.linger.ms: 5\n"
              "    sink: {kafka: {client.id: z}}\n"
              "    window: 3\n");
    assert_int_equal(f.rc, 0);
    assert_int_equal(f.names.count, 1);
    assert_string_equal(f.names.names[0], "a.b");
    has(&f, "a.b", "source.uri", "x: y", "f.yaml:4:12");
    has(&f, "a.b", "sink.kafka.linger.ms", "5", "f.yaml:5:27");
    has(&f, "a.b", "sink.kafka.client.id", "z", "f.yaml:6:31");
    has(&f, "a.b", "window", "3", "f.yaml:7:13");
    drop(&f);
}

static void lists_have_numbers(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "pipelines: {a: {route: {rules: [{topic: x}, {topic: y, key: z}]}}}");
    assert_int_equal(f.rc, 0);
    has(&f, "a", "route.rules.0.topic", "x", "f.yaml:1:41");
    has(&f, "a", "route.rules.1.topic", "y", "f.yaml:1:53");
    has(&f, "a", "route.rules.1.key", "z", "f.yaml:1:61");
    drop(&f);
}

static void defaults_belong_to_all(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "pipelines: {a: {window: 1}, b: {}, c: }\ndefaults: {lease: 9s, start: ~}");
    assert_int_equal(f.rc, 0);
    assert_int_equal(f.names.count, 3);
    has(&f, "", "lease", "9s", "f.yaml:2:19");
    assert_null(ph_values_find(&f.values, "", "start")); /* null is not there */
    assert_int_equal(f.values.count, 2);
    drop(&f);
}

static void quoted_nothing_is_a_value(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "pipelines: {a: {route: {key: ''}, start: 'null'}}");
    assert_int_equal(f.rc, 0);
    has(&f, "a", "route.key", "", "f.yaml:1:30");
    has(&f, "a", "start", "null", "f.yaml:1:42");
    drop(&f);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } rows[] = {
        {"pipelines: {a: &x {window: 1}}", "f.yaml:1:16: anchors and tags"},
        {"pipelines: {a: {window: &x 1}}", "f.yaml:1:25: anchors and tags"},
        {"pipelines: {a: {window: !!int 1}}", "f.yaml:1:25: anchors and tags"},
        {"pipelines: {a: {window: *x}}", "f.yaml:1:25: aliases are not allowed"},
        {"pipelines:\n  a: {window: 1,\n    window: 2}", "f.yaml:3:13: window is given twice"},
        {"pipelines: {a: {sink: {x: 1}, sink.x: 2}}", "sink.x is given twice; the first one"},
        {"pipelines:\n  a: {x: 1}\n  b: {x: 1}\n  a: {y: 1}",
         "f.yaml:4:3: a is given twice; the first one is at f.yaml:2:3"},
        {"pipelines:\n  a:\n    sink: {x: 1}\n    sink: {y: 1}", "f.yaml:4:5: sink is given twice"},
        {"pipelines: {a: {x: 1}}\npipelines: {b: {x: 1}}", "f.yaml:2:1: pipelines is given twice"},
        {"pipelines: {a: , a: {x: 1}}", "f.yaml:1:18: a is given twice"},
        {"pipelines: {a: {r: [{x: 1}, {y: {z: 1}, y: {w: 1}}]}}", "f.yaml:1:41: y is given twice"},
        {"a: {b: 1}", "f.yaml:1:8: expected pipelines or defaults"},
        {"pipelines: 3", "f.yaml:1:12: expected a mapping here"},
        {"pipelines: {a: 3}", "f.yaml:1:16: expected a mapping here"},
        {"defaults: x", "f.yaml:1:11: expected a mapping here"},
        {"[1]", "f.yaml:1:1: expected pipelines: at the top"},
        {"x", "f.yaml:1:1: expected pipelines or defaults"},
        {"pipelines: {a: {b: 1}}\n---\nx: 1", "f.yaml:2:1: a second document"},
        {"pipelines: {? [a] : 1}", "a key must be one word"},
        {"pipelines: {a: {'': 1}}", "a key must be one word"},
        {"pipelines: {\"a\\nb\": {x: 1}}", "a key must be one word"},
        {"pipelines: {a: [", "f.yaml:2:1: not YAML: "},
        {"pipelines:\n\ta: 1", "f.yaml:2:1: not YAML: "},
        {"pipelines:\n  a: \xff\n", "f.yaml:2:1: not UTF-8"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: {j: {k: {l: {m: {n: {o: {p: {q: 1}}}}}}}}}}}}}}}}",
         "nested too deep"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        parse(&f, rows[i].text);
        if (f.rc != PH_E_CONFIG || !strstr(ph_buf_text(&f.problems), rows[i].line)) {
            fail_msg("%s: %d '%s'", rows[i].text, f.rc, ph_buf_text(&f.problems));
        }
        drop(&f);
    }
}

static void all_mistakes_in_one_pass(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "pipelines: {a: &x {b: 1, b: 2}}\nextra: 1\ndefaults: *x\n");
    assert_int_equal(f.rc, PH_E_CONFIG);
    size_t lines = 0;
    for (const char *c = ph_buf_text(&f.problems); *c; c++) {
        lines += *c == '\n';
    }
    assert_int_equal(lines, 4);
    drop(&f);
}

static void too_large(void **state)
{
    (void)state;
    size_t len = PH_DOCUMENT_BYTES_MAX + 1;
    char *text = calloc(1, len + 1);
    assert_non_null(text);
    memset(text, ' ', len);
    struct fixture f;
    parse(&f, text);
    assert_int_equal(f.rc, PH_E_CONFIG);
    assert_non_null(strstr(ph_buf_text(&f.problems), "larger than 1 MiB"));
    drop(&f);
    free(text);
}

static void a_long_key_is_only_long(void **state)
{
    (void)state;
    char text[1024];
    (void)snprintf(text, sizeof text, "pipelines: {a: {x: 1, %0600d: {y: 1}}}", 7);
    struct fixture f;
    parse(&f, text);
    assert_int_equal(f.rc, PH_E_CONFIG);
    assert_non_null(strstr(ph_buf_text(&f.problems), "too long"));
    assert_null(strstr(ph_buf_text(&f.problems), "twice"));
    drop(&f);
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (long ok = 0; ok < 200; ok++) {
        struct fixture f;
        unit_memory_fail_after(ok);
        parse(&f, "pipelines: {a: {window: 1, lease: 2s}, b: {}}");
        bool done = unit_memory.calls <= ok;
        unit_memory_fail_after(-1);
        int rc = f.rc;
        drop(&f);
        if (done) {
            assert_int_equal(rc, 0);
            return;
        }
        assert_true(rc < 0);
    }
    fail_msg("never enough memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nested_and_dotted_are_the_same, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(lists_have_numbers, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(defaults_belong_to_all, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(quoted_nothing_is_a_value, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(refusals, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(all_mistakes_in_one_pass, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(too_large, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(a_long_key_is_only_long, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(memory_runs_out, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("config/document", tests, NULL, NULL);
}
