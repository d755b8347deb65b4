/* The stdout sink: into a pipe that is read, one that is full, one that is closed, and a file. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/sink.h"

extern const struct ph_sink_driver ph_sink_stdout;

static const struct ph_sink_driver *const driver = &ph_sink_stdout;
static const struct ph_tick_span span = {.tick = 7};

struct fixture {
    struct ph_sink_env env;
    struct ph_batch *batch;
    int real, read_fd; /* the program's own stdout; the end that a test reads */
    void *ctx;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)unit_memory_watch(state);
    *state = f;
    (void)signal(SIGPIPE, SIG_IGN);
    f->env = (struct ph_sink_env){.pipeline = "p", .uri = "stdout:", .window_batches = 2};
    f->batch = ph_batch_new(1000, 1 << 20);
    int ends[2];
    (void)fflush(stdout);
    f->real = dup(STDOUT_FILENO);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
    (void)close(ends[1]);
    f->read_fd = ends[0];
    return driver->open(&f->env, NULL, &f->ctx, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    driver->close(f->ctx);
    (void)dup2(f->real, STDOUT_FILENO);
    (void)close(f->real);
    (void)close(f->read_fd);
    ph_batch_free(f->batch);
    free(f);
    return unit_memory_restore(state);
}

static void submit(struct fixture *f, size_t count)
{
    ph_batch_reset(f->batch);
    for (size_t i = 0; i < count; i++) {
        struct ph_event *event = ph_batch_add(f->batch);
        event->span = &span;
        event->position = (int64_t)i + 1;
        event->aggregate_id = PH_STR("order-1");
        event->payload = PH_STR("{}");
    }
    assert_int_equal(driver->submit(f->ctx, f->batch, NULL), 0);
}

/* Reads what there is; all of it must be whole lines when whole is set. */
static size_t read_lines(struct fixture *f, char *out, size_t size)
{
    size_t len = 0;
    assert_int_equal(fcntl(f->read_fd, F_SETFL, O_NONBLOCK), 0);
    ssize_t got;
    while ((got = read(f->read_fd, out + len, size - len - 1)) > 0) {
        len += (size_t)got;
    }
    out[len] = '\0';
    return len;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')); text++) {
        assert_true(text[1] == '\0' || strncmp(text + 1, "{\"id\":\"", 7) == 0);
        lines++;
    }
    return lines;
}

static char text[1 << 20];

static void into_a_pipe(void **state)
{
    struct fixture *f = *state;
    submit(f, 3);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_true(ph_batch_done(f->batch));
    (void)read_lines(f, text, sizeof text);
    assert_int_equal(count_lines(text), 3);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_int_equal(driver->fd(f->ctx), -1);
}

/* Nobody reads: poll comes back in time, again and again, and then goes on where it was. */
static void into_a_full_pipe(void **state)
{
    struct fixture *f = *state;
    submit(f, 1000);
    int64_t before_us = ph_clock_mono_us();
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_int_equal(driver->poll(f->ctx, 20, NULL), 0);
    assert_in_range(ph_clock_mono_us() - before_us, 19000, 2000000);
    assert_false(ph_batch_done(f->batch));
    size_t len = 0;
    while (!ph_batch_done(f->batch)) {
        len += read_lines(f, text + len, sizeof text - len);
        assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    }
    (void)read_lines(f, text + len, sizeof text - len);
    assert_int_equal(count_lines(text), 1000);
}

static void abandon_ends_the_line(void **state)
{
    struct fixture *f = *state;
    submit(f, 1000);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    size_t settled = f->batch->settled;
    driver->abandon(f->ctx);
    size_t len = read_lines(f, text, sizeof text);
    assert_true(text[len - 1] != '\n');
    submit(f, 2);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_true(ph_batch_done(f->batch));
    len += read_lines(f, text + len, sizeof text - len);
    assert_int_equal(text[len - 1], '\n');
    assert_true(count_lines(text) >= settled + 2);
    submit(f, 1000);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    driver->abandon(f->ctx);
    len = read_lines(f, text, sizeof text);
    assert_true(text[len - 1] != '\n');
    driver->close(f->ctx);
    f->ctx = NULL;
    len += read_lines(f, text + len, sizeof text - len);
    assert_int_equal(text[len - 1], '\n');
    (void)count_lines(text);
}

static void reader_gone(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    (void)close(f->read_fd);
    submit(f, 1);
    assert_int_equal(driver->poll(f->ctx, 0, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "stdout is closed"));
    assert_int_equal(f->batch->settled, 0);
    f->read_fd = -1;
}

static void into_a_file(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/test_stdout_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dup2(fd, STDOUT_FILENO) >= 0);
    driver->close(f->ctx);
    assert_int_equal(driver->open(&f->env, NULL, &f->ctx, NULL), 0);
    submit(f, 1000);
    assert_int_equal(driver->poll(f->ctx, 0, NULL), 0);
    assert_true(ph_batch_done(f->batch));
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    text[len] = '\0';
    assert_int_equal(count_lines(text), 1000);
    (void)unlink(path);
    (void)close(fd);
}

static void no_stdout(void **state)
{
    struct fixture *f = *state;
    struct ph_error err = {0};
    void *ctx;
    (void)close(STDOUT_FILENO);
    assert_int_equal(driver->open(&f->env, NULL, &ctx, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "closed"));
}

static void memory_fails(void **state)
{
    struct fixture *f = *state;
    void *ctx;
    for (long ok = 0; ok < 2; ok++) {
        unit_memory_fail_after(ok);
        assert_int_equal(driver->open(&f->env, NULL, &ctx, NULL), PH_E_NOMEM);
    }
    unit_memory_fail_after(-1);
    submit(f, 1000);
    int rc = -1;
    for (long ok = 0; rc < 0; ok++) {
        unit_memory_fail_after(ok);
        rc = driver->poll(f->ctx, 0, NULL);
        assert_true(rc == 0 || rc == PH_E_NOMEM);
        unit_memory_fail_after(-1);
        (void)read_lines(f, text, sizeof text);
    }
}

#define STDOUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STDOUT_TEST(into_a_pipe),           STDOUT_TEST(into_a_full_pipe),
        STDOUT_TEST(abandon_ends_the_line), STDOUT_TEST(reader_gone),
        STDOUT_TEST(into_a_file),           STDOUT_TEST(no_stdout),
        STDOUT_TEST(memory_fails),
    };
    return cmocka_run_group_tests_name("sink/stdout", tests, NULL, NULL);
}
