/* Failpoints: what the environment may say, the kill at exactly the N-th hit, and the log that
 * survives it. */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"

static void refused(const char *text, const char *why)
{
    struct ph_error err = {0};
    assert_int_equal(ph_failpoint_arm(text, &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "POSTHORN_FAILPOINTS: "));
    if (!strstr(err.text, why)) {
        fail_msg("%s: \"%s\" does not say %s", text, err.text, why);
    }
}

static void mistakes_are_named(void **state)
{
    (void)state;
    refused("nothing.such=kill", "nothing.such=kill: there is no such failpoint");
    refused("tick.befor=kill", "no such");
    refused("tick.before", "must be NAME=kill");
    refused("tick.before=", "only kill");
    refused("tick.before=off", "only kill");
    refused("tick.before=kill@", "a number");
    refused("tick.before=kill@0", "a number");
    refused("tick.before=kill@-1", "a number");
    refused("tick.before=kill@2x", "a number");
    refused("tick.before=kill@99999999999999999999", "a number");
    refused("kafka.hygiene=kill", "only be off");
    refused("kafka.hygiene=off@1", "only be off");
    refused("kafka.hygiene=off,", "no such");
    refused(",kafka.hygiene=off", "no such");
    refused("kafka.hygiene=off,tick.before=kill@1,x=kill", "x=kill: there is no such");
}

static void nothing_arms_nothing(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(ph_failpoint_arm("", &err), 0);
    assert_int_equal(ph_failpoint_arm(NULL, &err), 0);
    for (int i = 0; i < 3; i++) {
        ph_failpoint_hit("tick.before"); /* we live on */
    }
}

/* What a child that armed text is after it has hit tick.before twice and tick.after once. */
static int life(const char *text, const char *path)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct ph_error err = {0};
        if (setenv("POSTHORN_FAILPOINTS", text, 1) < 0 ||
            setenv("POSTHORN_FAILPOINTS_LOG", path, 1) < 0 || ph_failpoint_setup(&err) < 0) {
            _exit(99);
        }
        ph_failpoint_hit("tick.before");
        ph_failpoint_hit("tick.before");
        ph_failpoint_hit("tick.after");
        _exit(ph_failpoint_off("kafka.hygiene") ? 7 : 8);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void the_nth_hit_kills(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int end;
        const char *log;
    } rows[] = {
        {"", 8, "tick.before\ntick.after\n"},
        {"kafka.hygiene=off", 7, "tick.before\ntick.after\n"},
        {"tick.before=kill", -SIGKILL, "tick.before\ntick.before=kill@1\n"},
        {"tick.before=kill@2", -SIGKILL, "tick.before\ntick.before=kill@2\n"},
        {"tick.before=kill@3", 8, "tick.before\ntick.after\n"},
        {"tick.before=kill@3,tick.after=kill", -SIGKILL,
         "tick.before\ntick.after\ntick.after=kill@1\n"},
        {"tick.befor=kill", 99, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[] = "/tmp/ph-failpoint-XXXXXX", text[256] = "";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(life(rows[i].text, path), rows[i].end);
        ssize_t got = read(fd, text, sizeof text - 1);
        assert_true(got >= 0);
        assert_string_equal(text, rows[i].log);
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);
    }
}

static void a_log_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(ph_failpoint_log("/nonexistent/log", &err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "POSTHORN_FAILPOINTS_LOG: /nonexistent/log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_hit_kills), cmocka_unit_test(nothing_arms_nothing),
        cmocka_unit_test(a_log_that_cannot_be_is_an_error),
        cmocka_unit_test(mistakes_are_named), /* last: they arm what stands before the mistake */
    };
    return cmocka_run_group_tests_name("base/failpoint", tests, NULL, NULL);
}
