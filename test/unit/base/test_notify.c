/* The service manager's datagrams: read from a real socket, named by a path and abstractly. */
#include "unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/notify.h"

static struct {
    int fd;
    char folder[64], name[96];
    char message[1024];
} manager;

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len + 1);
    address.sun_path[0] = name[0] == '@' ? '\0' : name[0];
    manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec = 5};
    (void)setsockopt(manager.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    socklen_t used = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return bind(manager.fd, (struct sockaddr *)&address, used);
}

static void name_by_path(void)
{
    (void)snprintf(manager.folder, sizeof manager.folder, "/tmp/ph-notify-XXXXXX");
    assert_non_null(mkdtemp(manager.folder));
    (void)snprintf(manager.name, sizeof manager.name, "%s/socket", manager.folder);
}

static int open_manager(void **state)
{
    (void)state;
    name_by_path();
    assert_int_equal(listen_at(manager.name), 0);
    set("NOTIFY_SOCKET", manager.name);
    return unit_memory_watch(state);
}

static int close_manager(void **state)
{
    (void)close(manager.fd);
    if (manager.folder[0]) {
        (void)unlink(manager.name);
        (void)rmdir(manager.folder);
    }
    memset(&manager, 0, sizeof manager);
    return unit_memory_restore(state);
}

static void open_it(void)
{
    struct ph_error err = {0};
    assert_int_equal(ph_notify_open(&err), 0);
}

static const char *told(void)
{
    ssize_t got = recv(manager.fd, manager.message, sizeof manager.message - 1, 0);
    assert_true(got >= 0);
    manager.message[got] = '\0';
    return manager.message;
}

static void nothing_told(void)
{
    char byte;
    assert_int_equal(recv(manager.fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void says_how_it_is(void **state)
{
    (void)state;
    struct ph_error err = {0};
    open_it();
    assert_int_equal(ph_notify_ready(&err), 0);
    assert_string_equal(told(), "READY=1");
    assert_int_equal(ph_notify_stopping(&err), 0);
    assert_string_equal(told(), "STOPPING=1");
    assert_int_equal(ph_notify_watchdog(&err), 0);
    assert_string_equal(told(), "WATCHDOG=1");
    assert_int_equal(ph_notify_status("3 pipelines", &err), 0);
    assert_string_equal(told(), "STATUS=3 pipelines");
    nothing_told();
}

static long long monotonic_us(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void a_reload_has_its_time(void **state)
{
    (void)state;
    struct ph_error err = {0};
    open_it();
    long long before = monotonic_us(), said = 0;
    assert_int_equal(ph_notify_reloading(&err), 0);
    assert_int_equal(sscanf(told(), "RELOADING=1\nMONOTONIC_USEC=%lld", &said), 1);
    assert_true(before <= said && said <= monotonic_us());
}

static void abstract_socket(void **state)
{
    (void)state;
    struct ph_error err = {0};
    char name[64];
    (void)close(manager.fd);
    (void)snprintf(name, sizeof name, "@ph-notify-%d", (int)getpid());
    assert_int_equal(listen_at(name), 0);
    set("NOTIFY_SOCKET", name);
    open_it();
    assert_int_equal(ph_notify_ready(&err), 0);
    assert_string_equal(told(), "READY=1");
}

static void no_manager_no_message(void **state)
{
    (void)state;
    struct ph_error err = {0};
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    set("WATCHDOG_USEC", "1000000");
    open_it();
    assert_int_equal(ph_notify_ready(&err), 0);
    assert_int_equal(ph_notify_reloading(&err), 0);
    assert_int_equal(ph_notify_stopping(&err), 0);
    assert_int_equal(ph_notify_status("x", &err), 0);
    assert_int_equal(ph_notify_watchdog(&err), 0);
    assert_int_equal(ph_notify_watchdog_us(), 0);
    nothing_told();
}

static void children_do_not_inherit(void **state)
{
    (void)state;
    set("WATCHDOG_USEC", "30000000");
    set("WATCHDOG_PID", "1");
    open_it();
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static int64_t watchdog(const char *usec, const char *pid)
{
    set("NOTIFY_SOCKET", manager.name);
    set("WATCHDOG_USEC", usec);
    if (pid) {
        set("WATCHDOG_PID", pid);
    }
    open_it();
    return ph_notify_watchdog_us();
}

static void watchdog_of_this_process(void **state)
{
    (void)state;
    char self[32], parent[32];
    (void)snprintf(self, sizeof self, "%d", (int)getpid());
    (void)snprintf(parent, sizeof parent, "%d", (int)getppid());
    assert_int_equal(watchdog("30000000", NULL), 30000000);
    assert_int_equal(watchdog("30000000", self), 30000000);
    assert_int_equal(watchdog("30000000", parent), 0);
    assert_int_equal(watchdog("30000000", "me"), 0);
    assert_int_equal(watchdog("0", self), 0);
    assert_int_equal(watchdog("-5", self), 0);
    assert_int_equal(watchdog("soon", self), 0);
}

static void a_status_is_one_line_and_bounded(void **state)
{
    (void)state;
    struct ph_error err = {0};
    char text[PH_NOTIFY_STATUS_MAX + 10];
    open_it();
    assert_int_equal(ph_notify_status("a\nREADY=1\r", &err), 0);
    assert_string_equal(told(), "STATUS=a READY=1 ");
    memset(text, 'x', sizeof text);
    memcpy(text + PH_NOTIFY_STATUS_MAX - 1, "\xc3\xa9", 2); /* one character over the end */
    text[sizeof text - 1] = '\0';
    assert_int_equal(ph_notify_status(text, &err), 0);
    assert_int_equal(strlen(told()), strlen("STATUS=") + PH_NOTIFY_STATUS_MAX - 1);
    assert_true(ph_str_utf8(ph_str_from(manager.message)));
}

static void refuse(const char *name)
{
    struct ph_error err = {0};
    set("NOTIFY_SOCKET", name);
    set("WATCHDOG_USEC", "1000000");
    assert_int_equal(ph_notify_open(&err), PH_E_CONFIG);
    assert_non_null(strstr(err.text, "NOTIFY_SOCKET"));
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_int_equal(ph_notify_watchdog_us(), 0);
    assert_int_equal(ph_notify_ready(&err), 0); /* nobody to tell */
}

static void other_addresses_are_refused(void **state)
{
    (void)state;
    char longer[200];
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    refuse("");
    refuse("@");
    refuse("relative/socket");
    refuse("vsock:2:1234");
    refuse(longer);
}

static void a_manager_that_went_is_an_error(void **state)
{
    (void)state;
    struct ph_error err = {0};
    open_it();
    (void)close(manager.fd);
    manager.fd = -1;
    assert_int_equal(ph_notify_ready(&err), PH_E_IO);
    assert_string_equal(err.text, "cannot tell the service manager: Connection refused");
}

static void waiting_for_room_ends(void **state)
{
    (void)state;
    struct ph_error err = {0};
    open_it();
    int rc = 0; /* nobody reads: the queue fills */
    long long began = monotonic_us();
    for (int i = 0; i < 100000 && rc == 0; i++) {
        began = monotonic_us();
        rc = ph_notify_watchdog(&err);
    }
    assert_int_equal(rc, PH_E_IO);
    assert_true(monotonic_us() - began < 10 * 1000000LL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_manager, close_manager)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(says_how_it_is),
        TEST(a_reload_has_its_time),
        TEST(abstract_socket),
        TEST(no_manager_no_message),
        TEST(children_do_not_inherit),
        TEST(watchdog_of_this_process),
        TEST(a_status_is_one_line_and_bounded),
        TEST(other_addresses_are_refused),
        TEST(a_manager_that_went_is_an_error),
        TEST(waiting_for_room_ends),
    };
    return cmocka_run_group_tests_name("base/notify", tests, NULL, NULL);
}
