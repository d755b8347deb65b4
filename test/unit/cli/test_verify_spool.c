/* The spool: items come back in order from every partition, from memory and from the file. */
#include "unit.h"

#include "cli/verify_spool.h"

struct item {
    uint64_t number, part, fill[3];
};

static void there_and_back(size_t partitions, uint64_t count)
{
    struct ph_spool *spool;
    struct item item = {0};
    assert_int_equal(ph_spool_new(partitions, sizeof item, &spool, NULL), 0);
    for (uint64_t i = 0; i < count; i++) {
        item = (struct item){i, i * 7919 % partitions, {i, ~i, 0}};
        assert_int_equal(ph_spool_put(spool, (size_t)item.part, &item, NULL), 0);
    }
    size_t total = 0;
    for (size_t part = 0; part < partitions; part++) {
        for (int round = 0; round < 2; round++) { /* can be read again */
            uint64_t last = 0;
            size_t n = 0;
            ph_spool_rewind(spool, part);
            while (ph_spool_next(spool, &item, NULL) == 1) {
                assert_int_equal(item.part, part);
                assert_true(n == 0 || item.number > last);
                assert_true(item.fill[1] == ~item.number);
                last = item.number;
                n++;
            }
            assert_int_equal(ph_spool_next(spool, &item, NULL), 0);
            assert_int_equal(n, ph_spool_count(spool, part));
            total += round == 0 ? n : 0;
        }
    }
    assert_int_equal(total, count);
    ph_spool_free(spool);
}

static void sizes(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 101, 102, 103, 204, 205, 5000, 100000};
    for (size_t i = 0; i < COUNT(counts); i++) {
        there_and_back(1, counts[i]);
        there_and_back(16, counts[i]);
    }
    there_and_back(PH_SPOOL_PARTITIONS_MAX, 100000);
}

static void no_place(void **state)
{
    (void)state;
    struct ph_spool *spool;
    struct ph_error err = {0};
    assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
    assert_int_equal(ph_spool_new(1, 8, &spool, &err), PH_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent"));
    assert_int_equal(setenv("TMPDIR", "", 1), 0);
    assert_int_equal(ph_spool_new(1, 8, &spool, &err), 0);
    ph_spool_free(spool);
    for (long ok = 0; ok < 3; ok++) {
        unit_memory_fail_after(ok);
        assert_int_equal(ph_spool_new(1, 8, &spool, &err), PH_E_NOMEM);
    }
    unit_memory_fail_after(-1);
    ph_spool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(no_place, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/verify_spool", tests, NULL, NULL);
}
