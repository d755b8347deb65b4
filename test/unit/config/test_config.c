/* A configuration as a whole: layers in their order, what is the same, and memory that runs out
 * anywhere. */
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "fake_drivers.h"

struct file {
    char path[64];
};

static void write_file(struct file *file, const char *text)
{
    (void)snprintf(file->path, sizeof file->path, "/tmp/ph-config-XXXXXX");
    int fd = mkstemp(file->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static int load(const struct file *file, char *const *variables, const char *const *sets,
                size_t set_count, struct ph_config *config, struct ph_buf *problems)
{
    const struct ph_config_args args = {.path = file->path,
                                        .assignments = sets,
                                        .assignment_count = set_count,
                                        .environ = variables};
    ph_buf_init(problems, 65536);
    return ph_config_load(&args, config, problems);
}

static const char two[] = "defaults: {lease: 9s}\n"
                          "pipelines:\n"
                          "  a.b: {source: {uri: postgres:x, label: one}, sink: {uri: kafka:k}}\n"
                          "  a: {source: {uri: postgres:y}, sink: {uri: kafka:k, tidy: no},"
                          " match: {header: {p: high}}, route: {rules: [{topic: t}]}}\n";

static void layers_in_their_order(void **state)
{
    (void)state;
    static const char *const sets[] = {"a.b.window=7", "*.batch_events=8", "a.batch_events=9"};
    char lease[] = "POSTHORN_LEASE=8s", window[] = "POSTHORN_A_B__WINDOW=6";
    char *const variables[] = {lease, window, NULL};
    struct file file;
    struct ph_config config;
    struct ph_buf problems;
    write_file(&file, two);
    assert_int_equal(load(&file, variables, sets, COUNT(sets), &config, &problems), 0);
    assert_string_equal(ph_buf_text(&problems), "");
    assert_int_equal(config.count, 2);
    const struct ph_pipeline_config *ab = &config.pipelines[0]->pipeline;
    const struct ph_pipeline_config *a = &config.pipelines[1]->pipeline;
    assert_string_equal(ab->name, "a.b");
    assert_int_equal(ab->options.window, 7);
    assert_int_equal(ab->options.lease_ms, 8000);
    assert_int_equal(ab->options.batch_events, 8);
    assert_int_equal(a->options.batch_events, 9);
    assert_int_equal(a->match->headers.count, 1);
    assert_string_equal(a->route->rules[0].topic, "t");
    ph_config_free(&config);
    ph_buf_free(&problems);
    (void)unlink(file.path);
}

/* The first pipeline of a file, alone. */
static struct ph_settings *only(const char *text)
{
    struct file file;
    struct ph_config config;
    struct ph_buf problems;
    write_file(&file, text);
    assert_int_equal(load(&file, NULL, NULL, 0, &config, &problems), 0);
    struct ph_settings *settings = config.pipelines[0];
    config.pipelines[0] = NULL;
    ph_config_free(&config);
    ph_buf_free(&problems);
    (void)unlink(file.path);
    return settings;
}

static void what_is_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool same;
    } rows[] = {
        {"pipelines: {a: {source: {uri: postgres:x}, sink: {uri: kafka:k}, window: 3}}", true},
        {"defaults: {window: 3}\npipelines:\n  a:\n    sink.uri: kafka:k\n    source: {uri: "
         "postgres:x}\n",
         true},
        {"pipelines: {a: {source: {uri: postgres:x}, sink: {uri: kafka:k}, window: 4}}", false},
        {"pipelines: {a: {source: {uri: postgres:x}, sink: {uri: kafka:k}}}", false},
        {"pipelines: {a: {source: {uri: postgres:y}, sink: {uri: kafka:k}, window: 3}}", false},
        {"pipelines: {a: {source: {uri: postgres:x}, sink: {uri: kafka:k}, window: 3, match: "
         "{event_type: x}}}",
         false},
    };
    struct ph_settings *first = only(rows[0].text);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ph_settings *other = only(rows[i].text);
        if (ph_settings_same(first, other) != rows[i].same ||
            ph_settings_same(other, first) != rows[i].same) {
            fail_msg("%s", rows[i].text);
        }
        ph_settings_free(other);
        ph_mem_free(other);
    }
    ph_settings_free(first);
    ph_mem_free(first);
}

static void memory_runs_out(void **state)
{
    (void)state;
    static const char *const sets[] = {"a.window=7"};
    char lease[] = "POSTHORN_LEASE=8s";
    char *const variables[] = {lease, NULL};
    struct file file;
    write_file(&file, two);
    for (long ok = 0;; ok++) {
        struct ph_config config;
        struct ph_buf problems;
        assert_true(ok < 5000);
        unit_memory_fail_after(ok);
        int rc = load(&file, variables, sets, COUNT(sets), &config, &problems);
        bool done = unit_memory.calls <= ok;
        unit_memory_fail_after(-1);
        ph_config_free(&config);
        ph_buf_free(&problems);
        if (done) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_true(rc < 0);
    }
    (void)unlink(file.path);
}

static void too_many_pipelines(void **state)
{
    (void)state;
    struct ph_buf text;
    struct file file;
    struct ph_config config;
    struct ph_buf problems;
    ph_buf_init(&text, (size_t)1 << 20);
    ph_buf_puts(&text, "pipelines:\n");
    for (int i = 0; i <= PH_CONFIG_PIPELINES_MAX; i++) {
        ph_buf_printf(&text, "  p%d: {source: {uri: postgres:x}, sink: {uri: kafka:k}}\n", i);
    }
    write_file(&file, ph_buf_text(&text));
    assert_int_equal(load(&file, NULL, NULL, 0, &config, &problems), PH_E_CONFIG);
    assert_non_null(strstr(ph_buf_text(&problems), "more than 256 pipelines"));
    assert_int_equal(config.count, PH_CONFIG_PIPELINES_MAX);
    ph_config_free(&config);
    ph_buf_free(&problems);
    ph_buf_free(&text);
    (void)unlink(file.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(layers_in_their_order, unit_memory_watch,
                                        unit_memory_restore),
        cmocka_unit_test_setup_teardown(what_is_the_same, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(memory_runs_out, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(too_many_pipelines, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("config/config", tests, NULL, NULL);
}
