/* Arenas: alignment, caps, chunks kept and given back, every allocation failing in turn. */
#include "unit.h"

#include "base/arena.h"

#define CHUNK ((size_t)64 * 1024)

static void allocates_nothing_before_use(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, 1000);
    assert_int_equal(unit_memory.calls, 0);
    ph_arena_reset(&arena, 1000);
    ph_arena_free(&arena);
    ph_arena_free(NULL);
    assert_int_equal(unit_memory.calls, 0);
}

static void aligned_and_apart(void **state)
{
    (void)state;
    struct ph_arena arena;
    unsigned char *before = NULL;
    ph_arena_init(&arena, SIZE_MAX);
    for (size_t size = 0; size < 300; size++) {
        unsigned char *ptr = ph_arena_alloc(&arena, size);
        assert_non_null(ptr);
        assert_int_equal((uintptr_t)ptr % 16, 0);
        assert_ptr_not_equal(ptr, before);
        memset(ptr, 0xA5, size);
        before = ptr;
    }
    ph_arena_free(&arena);
}

static void contents_survive_many_chunks(void **state)
{
    (void)state;
    struct ph_arena arena;
    unsigned *kept[2000];
    ph_arena_init(&arena, SIZE_MAX);
    for (unsigned i = 0; i < COUNT(kept); i++) {
        size_t size = i % 97 == 0 ? 40000 : 24 + i % 500;
        kept[i] = ph_arena_alloc(&arena, size);
        assert_non_null(kept[i]);
        memset(kept[i], (int)(i & 0xFF), size);
        *kept[i] = i;
    }
    for (unsigned i = 0; i < COUNT(kept); i++) {
        assert_int_equal(*kept[i], i);
        assert_int_equal(((unsigned char *)kept[i])[20], i & 0xFF);
    }
    ph_arena_free(&arena);
}

static void cap_is_exact(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, 64);
    assert_null(ph_arena_alloc(&arena, 65));
    assert_non_null(ph_arena_alloc(&arena, 48));
    assert_null(ph_arena_alloc(&arena, 17));
    assert_non_null(ph_arena_alloc(&arena, 16));
    assert_null(ph_arena_alloc(&arena, 1));
    assert_null(ph_arena_alloc(&arena, 0));
    assert_int_equal(arena.used, 64);
    ph_arena_reset(&arena, 0);
    assert_non_null(ph_arena_alloc(&arena, 64));
    ph_arena_free(&arena);
    ph_arena_init(&arena, 0);
    assert_null(ph_arena_alloc(&arena, 0));
    ph_arena_init(&arena, 100); /* not a multiple of 16: the last 4 bytes cannot be used */
    assert_null(ph_arena_alloc(&arena, 100));
    assert_non_null(ph_arena_alloc(&arena, 96));
    ph_arena_free(&arena);
}

static void cap_holds_for_large_ones(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, 200000);
    assert_non_null(ph_arena_alloc(&arena, 100000));
    assert_null(ph_arena_alloc(&arena, 100016));
    assert_non_null(ph_arena_alloc(&arena, 100000));
    assert_null(ph_arena_alloc(&arena, 1));
    ph_arena_free(&arena);
}

static void huge_sizes_are_refused(void **state)
{
    (void)state;
    struct ph_arena arena;
    volatile size_t huge = SIZE_MAX;
    ph_arena_init(&arena, SIZE_MAX);
    unit_memory_fail_after(0);
    for (size_t less = 0; less < 64; less++) {
        assert_null(ph_arena_alloc(&arena, huge - less));
        assert_null(ph_arena_copy(&arena, "x", huge - less));
    }
    assert_int_equal(arena.used, 0);
    unit_memory_fail_after(-1);
    assert_non_null(ph_arena_alloc(&arena, 1)); /* the same with a chunk that has room */
    unit_memory_fail_after(0);
    for (size_t less = 0; less < 64; less++) {
        assert_null(ph_arena_alloc(&arena, huge - less));
        assert_null(ph_arena_alloc(&arena, huge / 2 - less));
        assert_null(ph_arena_copy(&arena, "x", huge - less));
    }
    assert_int_equal(arena.used, 16);
    ph_arena_free(&arena);
}

static void copy_is_terminated(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, 1000);
    char *text = ph_arena_copy(&arena, "posthorn", 4);
    assert_string_equal(text, "post");
    char *empty = ph_arena_copy(&arena, NULL, 0);
    assert_string_equal(empty, "");
    char *sixteen = ph_arena_copy(&arena, "0123456789abcdef", 16);
    char *next = ph_arena_copy(&arena, "z", 1);
    assert_string_equal(sixteen, "0123456789abcdef");
    assert_string_equal(next, "z");
    ph_arena_free(&arena);
}

static void large_ones_leave_the_free_room(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, SIZE_MAX);
    unsigned char *first = ph_arena_alloc(&arena, 16);
    unsigned char *large = ph_arena_alloc(&arena, CHUNK);
    unsigned char *second = ph_arena_alloc(&arena, 16);
    assert_ptr_equal(second, first + 16);
    memset(large, 1, CHUNK);
    assert_int_equal(unit_memory.calls, 2);
    ph_arena_free(&arena);
}

static void reset_keeps_standard_chunks(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, SIZE_MAX);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 100; i++) {
            assert_non_null(ph_arena_alloc(&arena, 4000));
        }
        assert_non_null(ph_arena_alloc(&arena, 5 * CHUNK));
        ph_arena_reset(&arena, 3 * CHUNK);
        assert_int_equal(arena.used, 0);
        assert_int_equal(unit_memory.live, 3);
    }
    unit_memory_fail_after(0);
    for (int i = 0; i < 3 * 16; i++) {
        assert_non_null(ph_arena_alloc(&arena, 4000));
    }
    assert_null(ph_arena_alloc(&arena, 4000));
    ph_arena_reset(&arena, 2 * CHUNK - 1);
    assert_int_equal(unit_memory.live, 1);
    ph_arena_reset(&arena, 2 * CHUNK);
    assert_int_equal(unit_memory.live, 1);
    ph_arena_reset(&arena, 0);
    assert_int_equal(unit_memory.live, 0);
    ph_arena_free(&arena);
}

static void usable_after_free(void **state)
{
    (void)state;
    struct ph_arena arena;
    ph_arena_init(&arena, 64);
    assert_non_null(ph_arena_alloc(&arena, 64));
    ph_arena_free(&arena);
    assert_non_null(ph_arena_alloc(&arena, 64));
    ph_arena_free(&arena);
    ph_arena_free(&arena);
}

/* Fills an arena; how many of the requests were granted. */
static int fill(struct ph_arena *arena)
{
    static const size_t sizes[] = {10, 30000, 70000, 9000, 16, 9000, 16000, 16000, 200000, 16000};
    int granted = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t used = arena->used;
        void *ptr = ph_arena_alloc(arena, sizes[i]);
        if (ptr) {
            memset(ptr, 7, sizes[i]);
            granted++;
        } else {
            assert_int_equal(arena->used, used);
        }
    }
    return granted;
}

static void every_allocation_fails_in_turn(void **state)
{
    (void)state;
    int granted = 0;
    for (long ok = 0; granted < 10; ok++) {
        assert_true(ok < 20);
        struct ph_arena arena;
        ph_arena_init(&arena, SIZE_MAX);
        unit_memory_fail_after(ok);
        granted = fill(&arena);
        unit_memory_fail_after(-1);
        assert_non_null(ph_arena_alloc(&arena, 20000)); /* a failure is not for ever */
        assert_non_null(ph_arena_alloc(&arena, 20));
        ph_arena_reset(&arena, CHUNK);
        assert_int_equal(fill(&arena), 10);
        ph_arena_free(&arena);
        assert_int_equal(unit_memory.live, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, unit_memory_watch, unit_memory_restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(allocates_nothing_before_use),
        TEST(aligned_and_apart),
        TEST(contents_survive_many_chunks),
        TEST(cap_is_exact),
        TEST(cap_holds_for_large_ones),
        TEST(huge_sizes_are_refused),
        TEST(copy_is_terminated),
        TEST(large_ones_leave_the_free_room),
        TEST(reset_keeps_standard_chunks),
        TEST(usable_after_free),
        TEST(every_allocation_fails_in_turn),
    };
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
