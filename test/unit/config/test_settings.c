/* Settings: every key finds its table, every mistake becomes one line, memory may run out anywhere.
 */
#include "unit.h"

#include "config/settings.h"
#include "fake_drivers.h"

struct fixture {
    struct ph_settings settings;
    struct ph_buf problems;
    int rc;
};

static void load(struct fixture *f, const struct ph_settings_args *args)
{
    *f = (struct fixture){0};
    ph_buf_init(&f->problems, 65536);
    f->rc = ph_settings_load(&f->settings, args, &f->problems);
}

static void drop(struct fixture *f)
{
    ph_settings_free(&f->settings);
    ph_buf_free(&f->problems);
}

static struct ph_settings_args words(const char *const *assignments, size_t count)
{
    return (struct ph_settings_args){.from = "postgresql:///app",
                                     .to = "kafka://k:9092",
                                     .assignments = assignments,
                                     .assignment_count = count};
}

static void assert_problem(const char *assignment, const char *expected)
{
    struct ph_settings_args args = words(&assignment, 1);
    struct fixture f;
    load(&f, &args);
    if (f.rc != PH_E_CONFIG || !strstr(ph_buf_text(&f.problems), expected)) {
        fail_msg("%s: %d '%s', expected '%s'", assignment, f.rc, ph_buf_text(&f.problems),
                 expected);
    }
    const char *end = strchr(ph_buf_text(&f.problems), '\n');
    assert_true(end && end[1] == '\0'); /* exactly one line */
    drop(&f);
}

static void defaults(void **state)
{
    (void)state;
    struct ph_settings_args args = words(NULL, 0);
    struct fixture f;
    load(&f, &args);
    assert_int_equal(f.rc, 0);
    assert_string_equal(ph_buf_text(&f.problems), "");
    const struct ph_pipeline_config *p = &f.settings.pipeline;
    assert_string_equal(p->name, "default");
    assert_string_equal(p->from, "postgresql:///app");
    assert_string_equal(p->to, "kafka://k:9092");
    assert_ptr_equal(p->source, &fake_source);
    assert_ptr_equal(p->sink, &fake_sink);
    assert_int_equal(p->start.kind, PH_START_EARLIEST);
    assert_false(p->once);
    const struct fake_source_config *source = p->source_config;
    assert_int_equal(source->poll_max_ms, 50);
    assert_string_equal(source->label, "none");
    const struct fake_sink_config *sink = p->sink_config;
    assert_true(sink->tidy);
    assert_int_equal(sink->kafka.count, 0);
    assert_string_equal(p->route->topic, "outbox.event.{aggregate_type}");
    drop(&f);
}

static void every_family(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "source.poll_max=1s",
        "sink.tidy=no",
        "sink.kafka.linger.ms=5",
        "sink.kafka.client.id=a=b",
        "route.topic=t",
        "route.rules.0.event_type=Order*",
        "route.rules.0.topic=orders",
        "batch_events=17",
        "start=latest",
        "source.label=",
    };
    struct ph_settings_args args = words(sets, COUNT(sets));
    args.name = "orders.v2-x_Y";
    args.once = true;
    struct fixture f;
    load(&f, &args);
    assert_string_equal(ph_buf_text(&f.problems), "");
    assert_int_equal(f.rc, 0);
    const struct ph_pipeline_config *p = &f.settings.pipeline;
    const struct fake_source_config *source = p->source_config;
    const struct fake_sink_config *sink = p->sink_config;
    assert_int_equal(source->poll_max_ms, 1000);
    assert_string_equal(source->label, "");
    assert_false(sink->tidy);
    assert_string_equal(ph_option_map_get(&sink->kafka, "linger.ms"), "5");
    assert_string_equal(ph_option_map_get(&sink->kafka, "client.id"), "a=b");
    assert_string_equal(p->route->topic, "t");
    assert_string_equal(p->route->rules[0].topic, "orders");
    assert_int_equal(p->options.batch_events, 17);
    assert_string_equal(p->name, "orders.v2-x_Y");
    assert_true(p->once);
    assert_int_equal(p->start.kind, PH_START_LATEST);
    drop(&f);
}

static void mistakes(void **state)
{
    (void)state;
    assert_problem("batch_evnts=3", "batch_evnts (did you mean batch_events?)");
    assert_problem("sorce.poll_max=1s", "sorce.poll_max (did you mean source.poll_max?)");
    assert_problem("source.poll_mx=1s", "source.poll_max");
    assert_problem("poll_max=1s", "unknown option poll_max");
    assert_problem("source.poll_max=soon", "source.poll_max");
    assert_problem("source.poll_max=soon", "\"soon\"");
    assert_problem("batch_events=0", "batch_events");
    assert_problem("start=tomorrow", "start: \"tomorrow\"");
    assert_problem("nothing", "--set nothing: write it as KEY=VALUE");
    assert_problem("=1", "KEY=VALUE");
    assert_problem("", "KEY=VALUE");
    assert_problem("zebra.a.b=1", "source.*, sink.*, match.*, route.*");
    assert_problem("source.=1", "unknown option source.");
    assert_problem("route.topic={nix}", "nix");
    assert_problem("route.rules.0.colour=x", "colour");
}

static void all_at_once(void **state)
{
    (void)state;
    static const char *const sets[] = {"a", "batch_evnts=1", "source.poll_max=x", "window=1000",
                                       "start=x"};
    struct ph_settings_args args = words(sets, COUNT(sets));
    args.name = "no spaces";
    args.to = "ftp://x";
    struct fixture f;
    load(&f, &args);
    assert_int_equal(f.rc, PH_E_CONFIG);
    size_t lines = 0;
    for (const char *at = ph_buf_text(&f.problems); *at; at++) {
        lines += *at == '\n';
    }
    assert_int_equal(lines, COUNT(sets) + 2);
    assert_non_null(strstr(ph_buf_text(&f.problems), "\"ftp\"; expected one of: kafka"));
    drop(&f);
}

static void unknown_uris(void **state)
{
    (void)state;
    static const char *const sets[] = {"sink.tidy=no", "source.poll_max=1s"};
    struct ph_settings_args args = words(sets, COUNT(sets));
    args.from = "mysterious";
    args.to = "user:secret@host"; /* "user" is taken for the scheme; the rest is not shown */
    struct fixture f;
    load(&f, &args);
    assert_int_equal(f.rc, PH_E_CONFIG);
    assert_non_null(strstr(ph_buf_text(&f.problems), "--from: unknown kind"));
    assert_non_null(strstr(ph_buf_text(&f.problems), "--to: unknown kind"));
    assert_null(strstr(ph_buf_text(&f.problems), "secret"));
    drop(&f);
}

static void names(void **state)
{
    (void)state;
    static const char longest[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct {
        const char *name;
        bool good;
    } cases[] = {{"a", true},    {"A.b-c_9", true}, {longest, true},     {"", false},
                 {"a b", false}, {"a/b", false},    {"\xc3\xa9", false}, {"a\n", false}};
    assert_int_equal(strlen(longest), PH_PIPELINE_NAME_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_settings_args args = words(NULL, 0);
        args.name = cases[i].name;
        struct fixture f;
        load(&f, &args);
        assert_int_equal(f.rc, cases[i].good ? 0 : PH_E_CONFIG);
        drop(&f);
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    static const char *const sets[] = {"source.label=x", "sink.kafka.a=b", "route.rules.0.topic=t",
                                       "batch_evnts=2", "start=latest"};
    struct ph_settings_args args = words(sets, COUNT(sets));
    long ok = 0;
    for (;; ok++) {
        assert_true(ok < 1000);
        unit_memory_fail_after(ok);
        struct fixture f;
        load(&f, &args);
        bool told = !f.problems.failed && strstr(ph_buf_text(&f.problems), "batch_evnts");
        bool done = unit_memory.calls <= ok;
        int rc = f.rc;
        drop(&f);
        assert_true(rc < 0);
        if (done) {
            assert_true(told);
            break;
        }
    }
    unit_memory_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(every_family, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(mistakes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(all_at_once, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(unknown_uris, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(names, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(memory_runs_out, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("config/settings", tests, NULL, NULL);
}
