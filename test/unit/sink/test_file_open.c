/* The file sink's opening (repair, refusals, the lock) and the scan that reads it back. */
#include "file_rig.h"

/* --- opening ---------------------------------------------------------------------------------- */

static void torn_line_is_cut(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 3);
    off_t good = size_of(f->path);
    static const char line[] = "{\"id\":\"abababab-abab-abab-abab-abababababab\",\"type\"";
    for (size_t len = 1; len < sizeof line; len++) {
        write_file(f->path, line, len);
        start(f);
        assert_int_equal(size_of(f->path), good);
        assert_non_null(strstr(warned, "cut off"));
        warned[0] = '\0';
    }
    char zeros[70000] = {0};
    write_file(f->path, zeros, sizeof zeros);
    start(f);
    assert_int_equal(size_of(f->path), good);
    deliver(f, 2);
    check_all(f);
}

static void torn_first_line_is_cut(void **state)
{
    struct fixture *f = *state;
    char text[200000];
    memset(text, 'x', sizeof text);
    memcpy(text, "{\"id\":\"", 7);
    write_file(f->path, text, sizeof text);
    f->env.warn = NULL;
    start(f);
    assert_int_equal(size_of(f->path), 0);
    deliver(f, 2);
    check_all(f);
}

static void check_open_fails(struct fixture *f, const char *uri, int code, const char *word)
{
    struct ph_sink_env env = f->env;
    struct ph_error err = {0};
    void *ctx = NULL;
    env.uri = uri;
    assert_int_equal(driver->open(&env, &f->config, &ctx, &err), code);
    assert_null(ctx);
    if (!strstr(err.text, word)) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, word);
    }
}

static void not_our_file(void **state)
{
    struct fixture *f = *state;
    write_file(f->path, "important\nthings", 16);
    check_open_fails(f, f->uri, PH_E_CONFIG, "not ours");
    assert_int_equal(size_of(f->path), 16);
    int fd = open(f->path, O_WRONLY | O_TRUNC);
    assert_int_equal(ftruncate(fd, ((off_t)65 << 20)), 0);
    (void)close(fd);
    check_open_fails(f, f->uri, PH_E_CONFIG, "64 MiB");
    assert_int_equal(size_of(f->path), (off_t)65 << 20);
}

static void bad_paths(void **state)
{
    struct fixture *f = *state;
    check_open_fails(f, "file:", PH_E_CONFIG, "file:PATH");
    check_open_fails(f, "file:/tmp/", PH_E_CONFIG, "file:PATH");
    check_open_fails(f, "file:/nonexistent/folder/x", PH_E_CONFIG,
                     "/nonexistent/folder/x: No such");
    check_open_fails(f, "file:/tmp", PH_E_CONFIG, "directory");
    check_open_fails(f, "file:/dev/null", PH_E_CONFIG, "not a regular file");
    char slashes[160];
    (void)snprintf(slashes, sizeof slashes, "file://%s", f->path);
    f->env.uri = slashes;
    start(f);
    deliver(f, 1);
    assert_true(size_of(f->path) > 0);
}

static void relative_path(void **state)
{
    struct fixture *f = *state;
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(f->folder), 0);
    f->env.uri = "file:out.ndjson";
    f->config.rotate_size = 300;
    start(f);
    deliver(f, 5);
    check_all(f);
    assert_int_equal(chdir(before), 0);
    free(before);
}

static void one_writer_a_file(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 1);
    check_open_fails(f, f->uri, PH_E_UNAVAILABLE, f->path);
    f->config.rotate_size = 1;
    start(f);
    deliver(f, 3);
    check_open_fails(f, f->uri, PH_E_UNAVAILABLE, "another");
    driver->close(f->ctx);
    f->ctx = NULL;
    start(f);
}

/* --- scan ------------------------------------------------------------------------------------- */

static int scan(struct fixture *f, struct seen *seen, struct ph_error *err)
{
    *seen = (struct seen){.next = 1};
    return driver->scan(&f->env, &f->config, NULL, 0, see, seen, err);
}

static void scan_names_bad_lines(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct ph_error err = {0};
    char where[160], name[128];
    assert_int_equal(scan(f, &seen, &err), PH_E_IO);
    assert_non_null(strstr(err.text, f->path));
    start(f);
    assert_int_equal(scan(f, &seen, &err), 0);
    assert_int_equal(seen.count, 0);
    deliver(f, 2);
    write_file(f->path, "{\"id\":", 6);
    assert_int_equal(scan(f, &seen, &err), 0);
    assert_int_equal(seen.count, 2);
    write_file(f->path, "1}\n", 3);
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    (void)snprintf(where, sizeof where, "%s:3: ", f->path);
    assert_non_null(strstr(err.text, where));
    (void)snprintf(name, sizeof name, "%s.1", f->path);
    assert_int_equal(rename(f->path, name), 0);
    assert_int_equal(truncate(name, size_of(name) - 4), 0);
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    (void)snprintf(where, sizeof where, "%s:3: ", name);
    assert_non_null(strstr(err.text, where));
    assert_non_null(strstr(err.text, "no end"));
}

static int stop_at_two(void *arg, const struct ph_record *record)
{
    (void)arg;
    return record->at.position == 2 ? 42 : 0;
}

static void scan_stops_when_asked(void **state)
{
    struct fixture *f = *state;
    start(f);
    deliver(f, 3);
    assert_int_equal(driver->scan(&f->env, &f->config, NULL, 0, stop_at_two, NULL, NULL), 42);
}

static void scan_of_long_lines(void **state)
{
    struct fixture *f = *state;
    size_t size = (size_t)3 << 20;
    char *payload = malloc(size);
    assert_non_null(payload);
    memset(payload, '1', size);
    start(f);
    fill(f, 20);
    for (size_t i = 0; i < f->batch->count; i += 3) {
        f->batch->events[i].payload = (struct ph_str){payload, size - i * 100003};
    }
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    check_all(f);
    free(payload);
    int fd = open(f->path, O_WRONLY);
    assert_int_equal(ftruncate(fd, size_of(f->path) + ((off_t)65 << 20)), 0);
    (void)close(fd);
    write_file(f->path, "\n", 1);
    struct seen seen;
    struct ph_error err = {0};
    assert_int_equal(scan(f, &seen, &err), PH_E_DATA);
    assert_non_null(strstr(err.text, ":21: longer than 64 MiB"));
}

/* Rotation between opening the present file and listing the others shows it under both names. */
static void scan_sees_no_file_twice(void **state)
{
    struct fixture *f = *state;
    char name[128];
    start(f);
    deliver(f, 3);
    (void)snprintf(name, sizeof name, "%s.1", f->path);
    assert_int_equal(link(f->path, name), 0);
    check_all(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(torn_line_is_cut),     FILE_TEST(torn_first_line_is_cut),
        FILE_TEST(not_our_file),         FILE_TEST(bad_paths),
        FILE_TEST(relative_path),        FILE_TEST(one_writer_a_file),
        FILE_TEST(scan_names_bad_lines), FILE_TEST(scan_stops_when_asked),
        FILE_TEST(scan_of_long_lines),   FILE_TEST(scan_sees_no_file_twice),
    };
    return cmocka_run_group_tests_name("sink/file_open", tests, NULL, NULL);
}
