/* Values in the text of a statement: every kind, casts, quotes, and names without a value. */
#include "unit.h"

#include "db/pg_bind.h"

static struct ph_arena arena;
static struct ph_buf out;

static int start(void **state)
{
    ph_arena_init(&arena, 65536);
    ph_buf_init(&out, 65536);
    return unit_memory_watch(state);
}

static int finish(void **state)
{
    ph_arena_free(&arena);
    ph_buf_free(&out);
    return unit_memory_restore(state);
}

static const uint64_t xids[] = {3, 17, UINT64_MAX};

static const struct ph_pg_bind *values(void)
{
    static struct ph_pg_snapshot snapshot, empty;
    static const struct ph_pg_bind binds[] = {
        {.name = "low", .kind = PH_PG_BIND_I64, .i64 = INT64_MIN},
        {.name = "n", .kind = PH_PG_BIND_I64, .i64 = 42},
        {.name = "n2", .kind = PH_PG_BIND_I64, .i64 = -7},
        {.name = "top", .kind = PH_PG_BIND_U64, .u64 = UINT64_MAX},
        {.name = "cur", .kind = PH_PG_BIND_SNAPSHOT, .snapshot = &snapshot},
        {.name = "none", .kind = PH_PG_BIND_SNAPSHOT, .snapshot = &empty},
        {.name = "open_ones", .kind = PH_PG_BIND_XIDS, .xids = xids, .xid_count = COUNT(xids)},
        {.name = "open_none", .kind = PH_PG_BIND_XIDS},
    };
    assert_int_equal(ph_pg_snapshot_parse(PH_STR("10:20:10,14"), &arena, &snapshot, NULL), 0);
    assert_int_equal(ph_pg_snapshot_parse(PH_STR("3:3:"), &arena, &empty, NULL), 0);
    return binds;
}
#define VALUE_COUNT 8

static void assert_bound(const char *sql, const char *expected)
{
    struct ph_error err = {0};
    ph_buf_clear(&out);
    if (ph_pg_bind(&out, sql, values(), VALUE_COUNT, &err) != 0) {
        fail_msg("\"%s\": %s", sql, err.text);
    }
    assert_string_equal(ph_buf_text(&out), expected);
}

static void every_kind(void **state)
{
    (void)state;
    assert_bound("LIMIT :n", "LIMIT 42");
    assert_bound(":n,:n2", "42,-7");
    assert_bound(":low", "-9223372036854775808");
    assert_bound(":'top'::xid8", "'18446744073709551615'::xid8");
    assert_bound(":'cur'::pg_snapshot", "'10:20:10,14'::pg_snapshot");
    assert_bound(":'none'", "'3:3:'");
    assert_bound("ANY (:'open_ones'::xid8[])", "ANY ('{3,17,18446744073709551615}'::xid8[])");
    assert_bound(":'open_none'", "'{}'");
}

static void the_rest_is_untouched(void **state)
{
    (void)state;
    assert_bound("", "");
    assert_bound("SELECT 1", "SELECT 1");
    assert_bound("x::bigint::text", "x::bigint::text");
    assert_bound(":n::text", "42::text");
    assert_bound("::", "::");
    assert_bound("-- caf\xC3\xA9\n'quoted' \"name\" $1 %s",
                 "-- caf\xC3\xA9\n'quoted' \"name\" $1 %s");
    assert_bound("(:n)", "(42)");
    assert_bound(":n:n", "4242");
    assert_bound(":n;", "42;");
}

/* A name ends where its letters end; one that only begins alike is another. */
static void names_are_whole(void **state)
{
    (void)state;
    assert_bound(":n2 :n", "-7 42");
    static const char *const unknown[] = {":nn",  ":N",  ":",     ":'n", ":'n2x'", ":\"n\"",
                                          ": n",  ":é",  ":'n\"", ":''", ":_n",    ":::x",
                                          "a:1b", ":n_", ":'cur", ":'"};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        struct ph_error err = {0};
        ph_buf_clear(&out);
        int rc = ph_pg_bind(&out, unknown[i], values(), VALUE_COUNT, &err);
        if (rc != PH_E_SOFTWARE || err.code != PH_E_SOFTWARE) {
            fail_msg("%s gave %d: %s", unknown[i], rc, ph_buf_text(&out));
        }
    }
    struct ph_error err = {0};
    assert_int_equal(ph_pg_bind(&out, "SELECT :missing", values(), VALUE_COUNT, &err),
                     PH_E_SOFTWARE);
    assert_non_null(strstr(err.text, ":missing"));
    assert_int_equal(ph_pg_bind(&out, ":n", NULL, 0, &err), PH_E_SOFTWARE);
}

static void appends_and_is_bounded(void **state)
{
    (void)state;
    struct ph_error err = {0};
    ph_buf_clear(&out);
    ph_buf_puts(&out, "BEGIN; ");
    assert_int_equal(ph_pg_bind(&out, "SELECT :n", values(), VALUE_COUNT, &err), 0);
    assert_string_equal(ph_buf_text(&out), "BEGIN; SELECT 42");
    struct ph_buf small;
    ph_buf_init(&small, 8);
    assert_int_equal(ph_pg_bind(&small, ":low", values(), VALUE_COUNT, &err), PH_E_NOMEM);
    ph_buf_free(&small);
}

/* Whatever the values, what they add is harmless between quotes and without. */
static void values_are_digits(void **state)
{
    (void)state;
    struct ph_error err = {0};
    for (size_t i = 0; i < VALUE_COUNT; i++) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, ":%s", values()[i].name);
        ph_buf_clear(&out);
        assert_int_equal(ph_pg_bind(&out, sql, values(), VALUE_COUNT, &err), 0);
        assert_int_equal(strspn(ph_buf_text(&out), "0123456789:,-{}"), out.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),        cmocka_unit_test(the_rest_is_untouched),
        cmocka_unit_test(names_are_whole),   cmocka_unit_test(appends_and_is_bounded),
        cmocka_unit_test(values_are_digits),
    };
    return cmocka_run_group_tests_name("pg_bind", tests, start, finish);
}
