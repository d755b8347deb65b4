/* Memory through the table: nothing is still something, products do not wrap, failures are NULL. */
#include "unit.h"

static void nothing_is_one_byte(void **state)
{
    (void)state;
    char *a = ph_mem_alloc(0);
    char *b = ph_mem_zero(0, 8);
    char *c = ph_mem_resize(NULL, 0);
    assert_true(a && b && c);
    *a = *c = 'x';
    assert_int_equal(*b, 0);
    c = ph_mem_resize(c, 0);
    assert_non_null(c);
    ph_mem_free(a);
    ph_mem_free(b);
    ph_mem_free(c);
    ph_mem_free(NULL);
}

static void zero_clears(void **state)
{
    (void)state;
    char *bytes = ph_mem_zero(33, 3);
    assert_non_null(bytes);
    for (int i = 0; i < 99; i++) {
        assert_int_equal(bytes[i], 0);
    }
    ph_mem_free(bytes);
}

static void products_do_not_wrap(void **state)
{
    (void)state;
    volatile size_t half = SIZE_MAX / 2 + 1;
    assert_null(ph_mem_zero(half, 2));
    assert_null(ph_mem_zero(2, half));
    assert_null(ph_mem_zero(half, half));
    assert_int_equal(unit_memory.calls, 0);
}

static void resize_keeps_bytes(void **state)
{
    (void)state;
    char *text = ph_mem_strdup("posthorn");
    text = ph_mem_resize(text, 10000);
    assert_string_equal(text, "posthorn");
    ph_mem_free(text);
    text = ph_mem_strdup("");
    assert_string_equal(text, "");
    ph_mem_free(text);
}

static void no_memory_is_null(void **state)
{
    (void)state;
    char *kept = ph_mem_strdup("kept");
    unit_memory_fail_after(0);
    assert_null(ph_mem_alloc(1));
    assert_null(ph_mem_zero(1, 1));
    assert_null(ph_mem_strdup("x"));
    assert_null(ph_mem_resize(kept, 1000));
    assert_string_equal(kept, "kept");
    ph_mem_free(kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, unit_memory_watch, unit_memory_restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_one_byte), TEST(zero_clears),       TEST(products_do_not_wrap),
        TEST(resize_keeps_bytes),  TEST(no_memory_is_null),
    };
    return cmocka_run_group_tests_name("base/sys", tests, NULL, NULL);
}
