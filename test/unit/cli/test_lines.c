/* The line reader: ends of lines, ends of input, lines longer than a read, and the bound. */
#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "cli/lines.h"

/* A file with that content, to be read from its start. */
static int file_of(const char *content, size_t len)
{
    int fd = memfd_create("lines", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void assert_lines(const char *content, const char *const *expected)
{
    struct ph_lines lines;
    struct ph_str line;
    int fd = file_of(content, strlen(content));
    int64_t number = 0;
    ph_lines_init(&lines, fd, 100);
    for (; *expected; expected++) {
        assert_int_equal(ph_lines_next(&lines, &line, NULL), 1);
        assert_int_equal(line.len, strlen(*expected));
        assert_memory_equal(line.ptr, *expected, line.len);
        assert_int_equal(lines.number, ++number);
    }
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 0);
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 0);
    ph_lines_free(&lines);
    assert_int_equal(close(fd), 0);
}

static void ends(void **state)
{
    (void)state;
    assert_lines("", (const char *const[]){NULL});
    assert_lines("a", (const char *const[]){"a", NULL});
    assert_lines("a\n", (const char *const[]){"a", NULL});
    assert_lines("\n", (const char *const[]){"", NULL});
    assert_lines("a\r\n\r\nb\r", (const char *const[]){"a", "", "b", NULL});
    assert_lines("\n\na\n\n", (const char *const[]){"", "", "a", "", NULL});
}

static void long_lines(void **state)
{
    (void)state;
    const size_t max = 3 * 1024 * 1024;
    char *content = malloc(2 * max + 2);
    assert_non_null(content);
    memset(content, 'x', 2 * max + 2);
    content[max] = '\n';
    content[2 * max + 1] = '\n';
    int fd = file_of(content, 2 * max + 2);
    struct ph_lines lines;
    struct ph_str line;
    ph_lines_init(&lines, fd, max);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ph_lines_next(&lines, &line, NULL), 1);
        assert_int_equal(line.len, max);
        assert_int_equal(line.ptr[max - 1], 'x');
    }
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 0);
    ph_lines_free(&lines);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    struct ph_error err = {0};
    ph_lines_init(&lines, fd, max - 1);
    assert_int_equal(ph_lines_next(&lines, &line, &err), PH_E_DATA);
    assert_int_equal(lines.number, 1);
    assert_true(lines.size <= 2 * max); /* it gave up at the bound, not at the end */
    ph_lines_free(&lines);
    assert_int_equal(close(fd), 0);
    free(content);
}

static void many(void **state)
{
    (void)state;
    const size_t count = 200000;
    char *content = malloc(count * 8);
    size_t len = 0;
    assert_non_null(content);
    for (size_t i = 0; i < count; i++) {
        len += (size_t)snprintf(content + len, 8, "%zu\n", i % 1000000);
    }
    int fd = file_of(content, len);
    struct ph_lines lines;
    struct ph_str line;
    ph_lines_init(&lines, fd, 100);
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        assert_int_equal(ph_lines_next(&lines, &line, NULL), 1);
        assert_true(ph_str_i64(line, &value));
        assert_int_equal(value, i);
    }
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 0);
    assert_int_equal(lines.number, count);
    ph_lines_free(&lines);
    assert_int_equal(close(fd), 0);
    free(content);
}

static void as_they_come(void **state)
{
    (void)state;
    int fds[2];
    struct ph_lines lines;
    struct ph_str line;
    assert_int_equal(pipe(fds), 0);
    ph_lines_init(&lines, fds[0], 100);
    assert_int_equal(write(fds[1], "one\ntw", 6), 6);
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 1); /* without waiting for more */
    assert_str(line, "one");
    assert_int_equal(write(fds[1], "o\n", 2), 2);
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 1);
    assert_str(line, "two");
    assert_int_equal(close(fds[1]), 0);
    assert_int_equal(ph_lines_next(&lines, &line, NULL), 0);
    ph_lines_free(&lines);
    assert_int_equal(close(fds[0]), 0);
}

static void failures(void **state)
{
    (void)state;
    struct ph_lines lines;
    struct ph_str line;
    struct ph_error err = {0};
    ph_lines_init(&lines, -1, 100);
    assert_int_equal(ph_lines_next(&lines, &line, &err), PH_E_IO);
    ph_lines_free(&lines);
    ph_lines_init(&lines, 0, 100);
    unit_memory_fail_after(0);
    assert_int_equal(ph_lines_next(&lines, &line, &err), PH_E_NOMEM);
    unit_memory_fail_after(-1);
    ph_lines_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ends, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(long_lines, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(many, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(as_they_come, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(failures, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/lines", tests, NULL, NULL);
}
