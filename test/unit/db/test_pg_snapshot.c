/* pg_snapshot texts: what is one, what it sees, what contains what; asked of sets drawn bit by bit.
 */
#include "unit.h"

#include "db/pg_snapshot.h"

#define ARENA_CAP ((size_t)8 << 20)

static struct ph_arena arena;

static int start(void **state)
{
    ph_arena_init(&arena, ARENA_CAP);
    return unit_memory_watch(state);
}

static int finish(void **state)
{
    ph_arena_free(&arena);
    return unit_memory_restore(state);
}

static struct ph_pg_snapshot parsed(const char *text)
{
    struct ph_pg_snapshot snapshot;
    struct ph_error err = {0};
    if (ph_pg_snapshot_parse(ph_str_from(text), &arena, &snapshot, &err) != 0) {
        fail_msg("\"%s\": %s", text, err.text);
    }
    return snapshot;
}

static void assert_refused(struct ph_str text)
{
    struct ph_pg_snapshot out = {.xmin = 7, .xmax = 8};
    struct ph_error err = {0};
    int rc = ph_pg_snapshot_parse(text, &arena, &out, &err);
    if (rc != PH_E_DATA || err.code != PH_E_DATA) {
        fail_msg("\"%.*s\" gave %d", PH_STR_ARG(text), rc);
    }
    assert_true(out.xmin == 7 && out.xmax == 8 && out.xip == NULL);
}

static void takes_what_the_server_writes(void **state)
{
    (void)state;
    struct ph_pg_snapshot s = parsed("10:20:10,14,15");
    assert_true(s.xmin == 10 && s.xmax == 20 && s.xip_count == 3);
    assert_true(s.xip[0] == 10 && s.xip[1] == 14 && s.xip[2] == 15);
    s = parsed("782:782:");
    assert_true(s.xmin == 782 && s.xmax == 782 && s.xip_count == 0);
    s = parsed(PH_PG_SNAPSHOT_EMPTY);
    assert_true(s.xmin == 3 && s.xmax == 3 && s.xip_count == 0);
    s = parsed("18446744073709551613:18446744073709551615:18446744073709551614");
    assert_true(s.xmin == UINT64_MAX - 2 && s.xmax == UINT64_MAX && s.xip[0] == UINT64_MAX - 1);
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "::",
        "3",
        "3:",
        "3:3",
        ":3:",
        "3::",
        "3:4:3:",
        "3:4:,",
        "3:4:3,",
        "3:9:,4",
        "3:9:4,,5",
        "3:9:4 ",
        " 3:9:4",
        "3:9: 4",
        "3:9:4\n",
        "+3:9:4",
        "3:+9:4",
        "3:9:+4",
        "-3:9:4",
        "3:9:-4",
        "3:9:4;5",
        "3:9:4.0",
        "3:9:0x4",
        "3:9:4e0",
        "a:b:c",
        "9:3:",            /* from behind */
        "3:9:2",           /* before xmin */
        "3:9:9",           /* at xmax */
        "3:9:10",          /* behind xmax */
        "3:9:5,4",         /* falling */
        "3:9:4,4",         /* twice */
        "3:3:3",           /* no room for one */
        "3:9:4,5,6,7,8,9", /* the last is over */
        "18446744073709551616:18446744073709551616:",
        "3:18446744073709551616:",
        "3:18446744073709551615:18446744073709551615",
        "3:9:18446744073709551620",
        "99999999999999999999999999999999999999:99999999999999999999999999999999999999:",
        "3:9:4');DROP TABLE posthorn.outbox;--",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_refused(ph_str_from(texts[i]));
    }
    assert_refused((struct ph_str){NULL, 0});
    assert_refused((struct ph_str){"3:9\0:4", 7});
    assert_refused((struct ph_str){"3:9:4\0", 6});
    assert_refused((struct ph_str){"3:9:\0", 5});
}

/* A slice is read to its end and not a byte further. */
static void ends_where_the_slice_ends(void **state)
{
    (void)state;
    static const char text[] = "10:20:10,14,15";
    for (size_t len = 0; len < sizeof text; len++) {
        char *exact = ph_mem_alloc(len);
        struct ph_pg_snapshot s;
        assert_non_null(exact);
        memcpy(exact, text, len);
        int rc = ph_pg_snapshot_parse((struct ph_str){exact, len}, &arena, &s, NULL);
        bool whole = len == 6 || len == 8 || len == 11 || len == 14;
        assert_int_equal(rc, whole ? 0 : PH_E_DATA);
        ph_mem_free(exact);
    }
}

/* first, first + 1, ... as a text with count open transactions. */
static void put_long(struct ph_buf *buf, uint64_t first, size_t count)
{
    ph_buf_printf(buf, "%llu:%llu:", (unsigned long long)first,
                  (unsigned long long)(first + count + 1));
    for (size_t i = 0; i < count; i++) {
        ph_buf_printf(buf, "%s%llu", i > 0 ? "," : "", (unsigned long long)(first + i));
    }
}

static void has_a_longest(void **state)
{
    (void)state;
    struct ph_buf buf;
    struct ph_pg_snapshot s;
    struct ph_error err = {0};
    ph_buf_init(&buf, 64 << 20);
    put_long(&buf, 1000000000000ULL, PH_PG_XIP_MAX);
    assert_int_equal(ph_pg_snapshot_parse(ph_buf_str(&buf), &arena, &s, &err), 0);
    assert_int_equal(s.xip_count, PH_PG_XIP_MAX);
    assert_false(ph_pg_snapshot_sees(&s, 1000000000000ULL));
    assert_false(ph_pg_snapshot_sees(&s, 1000000000000ULL + PH_PG_XIP_MAX - 1));
    assert_true(ph_pg_snapshot_sees(&s, 1000000000000ULL + PH_PG_XIP_MAX));
    ph_buf_clear(&buf);
    put_long(&buf, 1000000000000ULL, PH_PG_XIP_MAX + 1);
    size_t before = arena.used;
    assert_int_equal(ph_pg_snapshot_parse(ph_buf_str(&buf), &arena, &s, &err), PH_E_DATA);
    assert_int_equal(arena.used, before);
    ph_buf_clear(&buf);
    ph_buf_puts(&buf, "3:9:");
    for (int i = 0; i < 4000000; i++) { /* would be 32 MB of numbers */
        ph_buf_putc(&buf, ',');
    }
    assert_int_equal(ph_pg_snapshot_parse(ph_buf_str(&buf), &arena, &s, &err), PH_E_DATA);
    assert_int_equal(arena.used, before);
    ph_buf_free(&buf);
}

static void says_when_memory_is_out(void **state)
{
    (void)state;
    struct ph_arena small;
    struct ph_pg_snapshot s;
    struct ph_error err = {0};
    ph_arena_init(&small, 64);
    assert_int_equal(ph_pg_snapshot_parse(ph_str_from("1:99:1,2,3,4,5,6,7,8,9"), &small, &s, &err),
                     PH_E_NOMEM);
    ph_arena_free(&small);
    unit_memory_fail_after(0);
    ph_arena_init(&small, ARENA_CAP);
    assert_int_equal(ph_pg_snapshot_parse(ph_str_from("1:99:1"), &small, &s, &err), PH_E_NOMEM);
    ph_arena_free(&small);
    unit_memory_fail_after(-1);
}

/* A model: bit x of sees says whether transaction x is seen; none at or behind BITS is. */
#define BITS 24

struct model {
    uint32_t sees;
    char text[256];
};

static uint64_t random_state;

static uint64_t random_below(uint64_t bound)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (random_state >> 33) % bound;
}

static struct model random_model(unsigned max)
{
    struct model m = {0};
    unsigned xmin = (unsigned)random_below(max);
    unsigned xmax = xmin + (unsigned)random_below(max - xmin + 1);
    int at = snprintf(m.text, sizeof m.text, "%u:%u:", xmin, xmax);
    unsigned rarity = 1 + (unsigned)random_below(4);
    m.sees = (1U << xmax) - 1;
    bool first = true;
    for (unsigned x = xmin; x < xmax; x++) {
        if (random_below(rarity) == 0) {
            at += snprintf(m.text + at, sizeof m.text - (size_t)at, "%s%u", first ? "" : ",", x);
            m.sees &= ~(1U << x);
            first = false;
        }
    }
    return m;
}

static void sees_what_the_model_sees(void **state)
{
    (void)state;
    random_state = 20260817;
    for (int i = 0; i < 20000; i++) {
        struct model m = random_model(BITS);
        ph_arena_reset(&arena, ARENA_CAP);
        struct ph_pg_snapshot s = parsed(m.text);
        for (unsigned x = 0; x < BITS + 4; x++) {
            if (ph_pg_snapshot_sees(&s, x) != (x < BITS && (m.sees >> x & 1))) {
                fail_msg("%s and %u", m.text, x);
            }
        }
        assert_false(ph_pg_snapshot_sees(&s, UINT64_MAX));
    }
}

static void contains_what_the_model_contains(void **state)
{
    (void)state;
    random_state = 4711;
    long contained = 0;
    for (int i = 0; i < 200000; i++) {
        unsigned max = 2 + (unsigned)random_below(i % 2 ? 7 : BITS - 2);
        struct model a = random_model(max), b = random_model(max);
        ph_arena_reset(&arena, ARENA_CAP);
        struct ph_pg_snapshot outer = parsed(a.text), inner = parsed(b.text);
        bool expected = (b.sees & ~a.sees) == 0;
        if (ph_pg_snapshot_contains(&outer, &inner) != expected) {
            fail_msg("does %s contain %s? expected %d", a.text, b.text, expected);
        }
        assert_true(ph_pg_snapshot_contains(&outer, &outer));
        contained += expected;
    }
    assert_true(contained > 10000 && contained < 190000);
}

/* The same far up, where a difference of two ids does not fit an int. */
static void contains_far_apart(void **state)
{
    (void)state;
    struct ph_pg_snapshot low = parsed("3:3:");
    struct ph_pg_snapshot high = parsed("18446744073709551615:18446744073709551615:");
    struct ph_pg_snapshot holes = parsed("5:9223372036854775810:5,9223372036854775809");
    assert_true(ph_pg_snapshot_contains(&high, &low));
    assert_false(ph_pg_snapshot_contains(&low, &high));
    assert_true(ph_pg_snapshot_contains(&high, &holes));
    assert_false(ph_pg_snapshot_contains(&holes, &high));
    assert_true(ph_pg_snapshot_contains(&holes, &low));
    struct ph_pg_snapshot all_open = parsed("3:6:3,4,5");
    assert_true(ph_pg_snapshot_contains(&low, &all_open)); /* both see nothing a user made */
    assert_true(ph_pg_snapshot_contains(&all_open, &low));
}

static void writes_what_it_read(void **state)
{
    (void)state;
    struct ph_buf buf;
    ph_buf_init(&buf, 4096);
    random_state = 99;
    for (int i = 0; i < 5000; i++) {
        struct model m = random_model(BITS);
        ph_arena_reset(&arena, ARENA_CAP);
        struct ph_pg_snapshot s = parsed(m.text);
        ph_buf_clear(&buf);
        ph_pg_snapshot_put(&buf, &s);
        assert_string_equal(ph_buf_text(&buf), m.text);
    }
    struct ph_pg_snapshot s = parsed("003:0012:007,0011"); /* zeros in front do no harm */
    ph_buf_clear(&buf);
    ph_pg_snapshot_put(&buf, &s);
    assert_string_equal(ph_buf_text(&buf), "3:12:7,11");
    ph_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_the_server_writes),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(ends_where_the_slice_ends),
        cmocka_unit_test(has_a_longest),
        cmocka_unit_test(says_when_memory_is_out),
        cmocka_unit_test(sees_what_the_model_sees),
        cmocka_unit_test(contains_what_the_model_contains),
        cmocka_unit_test(contains_far_apart),
        cmocka_unit_test(writes_what_it_read),
    };
    return cmocka_run_group_tests_name("pg_snapshot", tests, start, finish);
}
