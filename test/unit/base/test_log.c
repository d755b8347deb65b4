/* The log: both formats, hostile messages, lines that are cut, threads, and what reaches stderr. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

static char last[8192];
static int lines;

static void keep(const char *line, void *arg)
{
    assert_ptr_equal(arg, &lines);
    (void)snprintf(last, sizeof last, "%s", line);
    lines++;
}

static int64_t fixed_wall(void)
{
    return INT64_C(1795235289123456);
}

#define TS "2026-11-21T04:28:09.123456Z"

static int start(void **state)
{
    (void)state;
    unit_memory.real = ph_sys;
    ph_sys.wall_us = fixed_wall;
    lines = 0;
    last[0] = '\0';
    ph_log_setup(PH_LOG_INFO, PH_LOG_LOGFMT);
    ph_log_to(keep, &lines);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    ph_log_to(NULL, NULL);
    ph_sys = unit_memory.real;
    return 0;
}

static void logfmt(void **state)
{
    (void)state;
    ph_log(PH_LOG_INFO, "orders", "sent %d events", 3);
    assert_string_equal(last, "ts=" TS " level=info pipeline=orders msg=\"sent 3 events\"");
    ph_log(PH_LOG_ERROR, NULL, "ready");
    assert_string_equal(last, "ts=" TS " level=error msg=ready");
    ph_log(PH_LOG_WARN, "a b", "x=y");
    assert_string_equal(last, "ts=" TS " level=warn pipeline=\"a b\" msg=\"x=y\"");
    ph_log(PH_LOG_INFO, "", "%s", "");
    assert_string_equal(last, "ts=" TS " level=info pipeline=\"\" msg=\"\"");
    ph_log(PH_LOG_INFO, "C:\\x", "say \"hi\"");
    assert_string_equal(last, "ts=" TS " level=info pipeline=\"C:\\\\x\" msg=\"say \\\"hi\\\"\"");
}

static void json(void **state)
{
    (void)state;
    ph_log_setup(PH_LOG_INFO, PH_LOG_JSON);
    ph_log(PH_LOG_WARN, "orders", "say \"%s\"", "hi");
    assert_string_equal(last, "{\"ts\":\"" TS "\",\"level\":\"warn\",\"pipeline\":\"orders\","
                              "\"msg\":\"say \\\"hi\\\"\"}");
    ph_log(PH_LOG_INFO, NULL, "ready");
    assert_string_equal(last, "{\"ts\":\"" TS "\",\"level\":\"info\",\"msg\":\"ready\"}");
}

static void levels(void **state)
{
    (void)state;
    for (int at = PH_LOG_DEBUG; at <= PH_LOG_ERROR; at++) {
        ph_log_setup((enum ph_log_level)at, PH_LOG_LOGFMT);
        lines = 0;
        ph_log(PH_LOG_DEBUG, NULL, "x");
        ph_log(PH_LOG_INFO, NULL, "x");
        ph_log(PH_LOG_WARN, NULL, "x");
        ph_log(PH_LOG_ERROR, NULL, "x");
        assert_int_equal(lines, PH_LOG_ERROR - at + 1);
    }
}

static void no_injection(void **state)
{
    (void)state;
    ph_log(PH_LOG_INFO, "p\nlevel=error", "a\r\nts=0 level=info\tmsg=\x1B[31m\x7F\x01");
    assert_string_equal(last, "ts=" TS " level=info pipeline=\"p\\nlevel=error\" "
                              "msg=\"a\\r\\nts=0 level=info\\tmsg=\\u001b[31m\\u007f\\u0001\"");
    ph_log(PH_LOG_INFO, NULL, "%s",
           "\xC2\x9B"
           "31m\xE2\x80\xA8\xC2\xA0\xC3\xA4");
    assert_non_null(strstr(last, "msg=\"\\u009b31m\\u2028\xC2\xA0\xC3\xA4\""));
    ph_log(PH_LOG_INFO, NULL, "%s", "\xFFx\xC3");
    assert_non_null(strstr(last, "msg=\"\\ufffdx\\ufffd\""));
}

/* Any single byte, in both formats: one line, well-formed, nothing a terminal obeys. */
static void every_byte(void **state)
{
    (void)state;
    for (int format = PH_LOG_LOGFMT; format <= PH_LOG_JSON; format++) {
        ph_log_setup(PH_LOG_INFO, (enum ph_log_format)format);
        for (int c = 1; c < 256; c++) {
            ph_log(PH_LOG_INFO, NULL, "a%cb", c);
            assert_true(ph_str_utf8(ph_str_from(last)));
            for (const char *p = last; *p; p++) {
                assert_true((unsigned char)*p >= 0x20 && *p != 0x7F);
            }
            if (format == PH_LOG_JSON) {
                assert_int_equal(ph_json_check(ph_str_from(last), NULL), 0);
            }
        }
    }
}

/* Messages around every length at which a line is cut, of characters of every cost. */
static void cut_lines(void **state)
{
    (void)state;
    static const char *const pieces[] = {"x",   "\n", "\x01", "\"", "\xC3\xA4", "\xF0\x9F\x93\xAF",
                                         "\xFF"};
    static char message[9000];
    for (size_t i = 0; i < COUNT(pieces); i++) {
        for (int format = PH_LOG_LOGFMT; format <= PH_LOG_JSON; format++) {
            ph_log_setup(PH_LOG_INFO, (enum ph_log_format)format);
            size_t size = strlen(pieces[i]), len = 0;
            while (len + size < sizeof message) {
                memcpy(message + len, pieces[i], size);
                len += size;
                message[len] = '\0';
                if (len % 64 >= 16 && len < 3900) {
                    continue;
                }
                if (len > 4200 && len % 1024 >= 16) {
                    continue;
                }
                ph_log(PH_LOG_INFO, "p", "%s", message);
                assert_true(strlen(last) < 4096);
                assert_true(ph_str_utf8(ph_str_from(last)));
                bool whole = strstr(last, "...\"") == NULL;
                assert_true(whole ? len < 4096 : strlen(last) > 4070);
                if (format == PH_LOG_JSON) {
                    assert_int_equal(ph_json_check(ph_str_from(last), NULL), 0);
                }
            }
        }
    }
}

static void long_pipeline_is_cut(void **state)
{
    (void)state;
    static char name[5000];
    memset(name, 1, sizeof name - 1);
    ph_log_setup(PH_LOG_INFO, PH_LOG_JSON);
    ph_log(PH_LOG_INFO, name, "the message is there");
    assert_int_equal(ph_json_check(ph_str_from(last), NULL), 0);
    assert_non_null(strstr(last, "the message is there"));
    assert_non_null(strstr(last, "...\""));
}

static void errno_is_kept(void **state)
{
    (void)state;
    errno = ENOENT;
    ph_log(PH_LOG_INFO, NULL, "%s", strerror(errno));
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(last, "No such file"));
}

static void names(void **state)
{
    (void)state;
    enum ph_log_level level = PH_LOG_INFO;
    enum ph_log_format format = PH_LOG_LOGFMT;
    assert_true(ph_log_level_parse(PH_STR("debug"), &level) && level == PH_LOG_DEBUG);
    assert_true(ph_log_level_parse(PH_STR("info"), &level) && level == PH_LOG_INFO);
    assert_true(ph_log_level_parse(PH_STR("warn"), &level) && level == PH_LOG_WARN);
    assert_true(ph_log_level_parse(PH_STR("error"), &level) && level == PH_LOG_ERROR);
    assert_false(ph_log_level_parse(PH_STR("ERROR"), &level));
    assert_false(ph_log_level_parse(PH_STR(""), &level));
    assert_int_equal(level, PH_LOG_ERROR);
    assert_true(ph_log_format_parse(PH_STR("json"), &format) && format == PH_LOG_JSON);
    assert_true(ph_log_format_parse(PH_STR("logfmt"), &format) && format == PH_LOG_LOGFMT);
    assert_false(ph_log_format_parse(PH_STR("xml"), &format));
}

#define THREADS 4
#define LINES   2000

static void *log_many(void *arg)
{
    for (int i = 0; i < LINES; i++) {
        ph_log(PH_LOG_INFO, arg, "line %d", i);
    }
    return NULL;
}

static void log_from_threads(void)
{
    static char names_of[THREADS][8] = {"a", "b", "c", "d"};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names_of[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void threads_one_line_at_a_time(void **state)
{
    (void)state;
    log_from_threads();
    assert_int_equal(lines, THREADS * LINES);
}

/* Sends stderr to a file; the copy of the real one is to be given back. */
static int divert_stderr(FILE *file)
{
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0);
    assert_int_equal(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
    ph_log_to(NULL, NULL);
    return kept;
}

static void restore_stderr(int kept)
{
    assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    (void)close(kept);
}

static void stderr_gets_whole_lines(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_true(fcntl(fileno(file), F_SETFL, O_APPEND) == 0);
    int kept = divert_stderr(file);
    log_from_threads();
    restore_stderr(kept);
    rewind(file);
    char text[4200];
    int count = 0;
    while (fgets(text, sizeof text, file)) {
        assert_memory_equal(text, "ts=" TS " level=info pipeline=", 48);
        assert_non_null(strstr(text, "msg=\"line "));
        assert_string_equal(text + strlen(text) - 2, "\"\n");
        count++;
    }
    (void)fclose(file);
    assert_int_equal(count, THREADS * LINES);
}

static void longest_line_fits_a_pipe(void **state)
{
    (void)state;
    static char message[10000], text[10000];
    memset(message, 'm', sizeof message - 1);
    FILE *file = tmpfile();
    assert_non_null(file);
    int kept = divert_stderr(file);
    ph_log(PH_LOG_INFO, NULL, "%s", message);
    restore_stderr(kept);
    rewind(file);
    size_t len = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    assert_in_range(len, 4080, 4096);
    assert_memory_equal(text + len - 5, "...\"\n", 5);
}

static void closed_stderr_is_no_matter(void **state)
{
    (void)state;
    FILE *file = fopen("/dev/full", "w");
    assert_non_null(file);
    int kept = divert_stderr(file);
    errno = 5;
    ph_log(PH_LOG_INFO, NULL, "nobody hears this");
    assert_int_equal(errno, 5);
    restore_stderr(kept);
    (void)fclose(file);
}

/* Logs one line to a new terminal; whether it held an escape sequence. */
static bool coloured(const char *no_color, enum ph_log_format format)
{
    int host = posix_openpt(O_RDWR | O_NOCTTY);
    if (host < 0 || grantpt(host) != 0 || unlockpt(host) != 0) {
        fail_msg("no pseudo terminal");
    }
    int guest = open(ptsname(host), O_RDWR | O_NOCTTY); /* not to become our own terminal */
    FILE *terminal = guest < 0 ? NULL : fdopen(guest, "r+");
    assert_non_null(terminal);
    if (no_color) {
        assert_int_equal(setenv("NO_COLOR", no_color, 1), 0);
    } else {
        assert_int_equal(unsetenv("NO_COLOR"), 0);
    }
    int kept = divert_stderr(terminal);
    ph_log_setup(PH_LOG_INFO, format);
    ph_log(PH_LOG_WARN, NULL, "careful");
    restore_stderr(kept);
    char text[300] = "";
    assert_true(read(host, text, sizeof text - 1) > 0);
    (void)fclose(terminal);
    (void)close(host);
    assert_non_null(strstr(text, "careful"));
    return strchr(text, 033) != NULL;
}

static void colour_on_terminals_only(void **state)
{
    (void)state;
    assert_true(coloured(NULL, PH_LOG_LOGFMT));
    assert_true(coloured("", PH_LOG_LOGFMT));
    assert_false(coloured("1", PH_LOG_LOGFMT));
    assert_false(coloured(NULL, PH_LOG_JSON));
}

/* Runs first: nothing was set up yet. */
static void before_setup(void **state)
{
    (void)state;
    ph_log_to(keep, &lines);
    ph_log(PH_LOG_DEBUG, NULL, "unheard");
    assert_int_equal(lines, 0);
    ph_log(PH_LOG_INFO, NULL, "heard");
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last, " level=info msg=heard"));
    ph_log_to(NULL, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_setup),
        TEST(logfmt),
        TEST(json),
        TEST(levels),
        TEST(no_injection),
        TEST(every_byte),
        TEST(cut_lines),
        TEST(long_pipeline_is_cut),
        TEST(errno_is_kept),
        TEST(names),
        TEST(threads_one_line_at_a_time),
        TEST(stderr_gets_whole_lines),
        TEST(longest_line_fits_a_pipe),
        TEST(closed_stderr_is_no_matter),
        TEST(colour_on_terminals_only),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
