/* The wish to stop: seen by flag and by poll(), from threads and from a signal handler. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

static struct ph_stop stop;

static int start(void **state)
{
    (void)state;
    return ph_stop_init(&stop, NULL);
}

static int finish(void **state)
{
    (void)state;
    ph_stop_free(&stop);
    return 0;
}

static int64_t elapsed_ms(int64_t since_us)
{
    return (ph_clock_mono_us() - since_us) / 1000;
}

static void not_wanted_at_first(void **state)
{
    (void)state;
    struct pollfd waited = {.fd = stop.fd, .events = POLLIN};
    assert_false(ph_stop_wanted(&stop));
    assert_int_equal(poll(&waited, 1, 0), 0);
    assert_true(fcntl(stop.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(stop.fd, F_GETFL) & O_NONBLOCK);
}

static void waits_for_the_time_given(void **state)
{
    (void)state;
    int64_t before = ph_clock_mono_us();
    assert_false(ph_stop_wait(&stop, 0));
    assert_true(elapsed_ms(before) < 1000);
    assert_false(ph_stop_wait(&stop, 30));
    assert_true(elapsed_ms(before) >= 29);
    before = ph_clock_mono_us();
    assert_false(ph_stop_wait(NULL, 30));
    assert_true(elapsed_ms(before) >= 29);
    assert_false(ph_stop_wait(NULL, 0));
}

static void stays_wanted(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        errno = 77;
        ph_stop_request(&stop);
        assert_int_equal(errno, 77);
        struct pollfd waited = {.fd = stop.fd, .events = POLLIN};
        assert_int_equal(poll(&waited, 1, 0), 1);
        assert_true(ph_stop_wanted(&stop));
        assert_true(ph_stop_wait(&stop, 0));
        assert_true(ph_stop_wait(&stop, -1));
        assert_true(ph_stop_wait(&stop, 100000));
    }
}

static void *wait_long(void *arg)
{
    bool *woken = arg;
    *woken = ph_stop_wait(&stop, 60000);
    return NULL;
}

static void wakes_every_waiter(void **state)
{
    (void)state;
    pthread_t threads[4];
    bool woken[4] = {false};
    int64_t before = ph_clock_mono_us();
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wait_long, &woken[i]), 0);
    }
    (void)usleep(20000);
    ph_stop_request(&stop);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(woken[i]);
    }
    assert_true(elapsed_ms(before) < 30000);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signo)
{
    (void)signo;
    alarms++;
}

static void on_alarm_stop(int signo)
{
    (void)signo;
    ph_stop_request(&stop);
}

/* SIGALRM every 5 ms, without restarted system calls. */
static void start_alarms(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerval every = {{0, 5000}, {0, 5000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void stop_alarms(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static void signals_do_not_shorten_a_wait(void **state)
{
    (void)state;
    alarms = 0;
    start_alarms(on_alarm);
    int64_t before = ph_clock_mono_us();
    assert_false(ph_stop_wait(&stop, 100));
    int64_t waited_ms = elapsed_ms(before);
    stop_alarms();
    assert_true(alarms > 1);
    assert_in_range(waited_ms, 99, 5000);
}

static void request_from_a_signal_handler(void **state)
{
    (void)state;
    start_alarms(on_alarm_stop);
    bool wanted = ph_stop_wait(&stop, -1);
    stop_alarms();
    assert_true(wanted);
}

static void no_descriptor_left(void **state)
{
    (void)state;
    struct ph_stop other;
    struct ph_error err = {0};
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = ph_stop_init(&other, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, PH_E_IO);
    assert_int_equal(other.fd, -1);
    assert_non_null(strstr(err.text, "eventfd: Too many open files"));
    ph_stop_free(&other);
    ph_stop_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(not_wanted_at_first),
        TEST(waits_for_the_time_given),
        TEST(stays_wanted),
        TEST(wakes_every_waiter),
        TEST(signals_do_not_shorten_a_wait),
        TEST(request_from_a_signal_handler),
        TEST(no_descriptor_left),
    };
    return cmocka_run_group_tests_name("base/thread", tests, NULL, NULL);
}
