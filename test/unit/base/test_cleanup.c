/* Cleanup attributes: what leaves its scope is given back, NULL and -1 are left alone. */
#include "unit.h"

#include <fcntl.h>

#include "base/cleanup.h"

struct thing {
    int *freed;
};

static void thing_free(struct thing *thing)
{
    ++*thing->freed;
}

PH_DEFINE_CLEANUP(thing, struct thing *, thing_free);

static void frees_at_the_end_of_the_scope(void **state)
{
    (void)state;
    int freed = 0;
    struct thing thing = {&freed};
    {
        PH_CLEANUP(ph_cleanup_thing) struct thing *one = &thing;
        PH_CLEANUP(ph_cleanup_thing) struct thing *none = NULL;
        (void)one;
        (void)none;
        assert_int_equal(freed, 0);
    }
    assert_int_equal(freed, 1);
}

static void memory(void **state)
{
    (void)state;
    {
        PH_CLEANUP(ph_cleanup_mem) char *text = ph_mem_strdup("x");
        PH_CLEANUP(ph_cleanup_mem) char *none = NULL;
        assert_non_null(text);
        (void)none;
        assert_int_equal(unit_memory.live, 1);
    }
    assert_int_equal(unit_memory.live, 0);
}

static void files(void **state)
{
    (void)state;
    int kept;
    {
        PH_CLEANUP(ph_cleanup_fd) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        PH_CLEANUP(ph_cleanup_fd) int none = -1;
        PH_CLEANUP(ph_cleanup_stdio) FILE *file = fopen("/dev/null", "r");
        PH_CLEANUP(ph_cleanup_stdio) FILE *no_file = NULL;
        (void)none;
        (void)no_file;
        assert_true(fd >= 0 && file);
        kept = fd;
    }
    assert_int_equal(fcntl(kept, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frees_at_the_end_of_the_scope),
        cmocka_unit_test_setup_teardown(memory, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests_name("base/cleanup", tests, NULL, NULL);
}
