/* Templates: every field, braces, mistakes with their place, holes refused, memory failing. */
#include "unit.h"

#include "core/template.h"

static const struct ph_header headers[] = {
    {{"tenant", 6}, {"acme", 4}}, {{"empty", 5}, {"", 0}}, {{"a:b c", 5}, {"odd", 3}}};

static struct ph_event order_event(void)
{
    return (struct ph_event){.aggregate_type = PH_STR("Order"),
                             .aggregate_id = PH_STR("order-1"),
                             .event_type = PH_STR("OrderPlaced")};
}

static void check_fill(const char *text, const char *expected)
{
    struct ph_arena arena;
    struct ph_template *tpl = NULL;
    struct ph_event event = order_event();
    struct ph_str out;
    struct ph_error err = {0};
    ph_arena_init(&arena, 10000);
    assert_int_equal(ph_template_new(ph_str_from(text), &tpl, &err), 0);
    int rc = ph_template_fill(tpl, &arena, &event, headers, COUNT(headers), &out, &err);
    assert_int_equal(rc, 0);
    assert_str(out, expected);
    ph_template_free(tpl);
    ph_arena_free(&arena);
}

static void fields(void **state)
{
    (void)state;
    check_fill("outbox.event.{aggregate_type}", "outbox.event.Order");
    check_fill("{aggregate_id}", "order-1");
    check_fill("{event_type}", "OrderPlaced");
    check_fill("{header:tenant}-{event_type}{aggregate_id}", "acme-OrderPlacedorder-1");
    check_fill("{header:a:b c}", "odd");
    check_fill("plain", "plain");
    check_fill("{{{aggregate_type}}}", "{Order}");
    check_fill("a{{b}}c", "a{b}c");
    check_fill("}}", "}");
    check_fill("{{{{", "{{");
    check_fill("\xC3\xA9{event_type}\xC3\xA9", "\xC3\xA9OrderPlaced\xC3\xA9");
}

static void one_field_is_not_copied(void **state)
{
    (void)state;
    struct ph_template *tpl = NULL;
    struct ph_event event = order_event();
    struct ph_str out;
    assert_int_equal(ph_template_new(PH_STR("{aggregate_id}"), &tpl, NULL), 0);
    struct ph_arena arena;
    ph_arena_init(&arena, 0);
    assert_int_equal(ph_template_fill(tpl, &arena, &event, NULL, 0, &out, NULL), 0);
    assert_ptr_equal(out.ptr, event.aggregate_id.ptr);
    ph_template_free(tpl);
    ph_template_free(NULL);
}

static void check_kinds(const char *text, bool needs_headers, bool is_id, bool by_type)
{
    struct ph_template *tpl = NULL;
    assert_int_equal(ph_template_new(ph_str_from(text), &tpl, NULL), 0);
    assert_int_equal(ph_template_needs_headers(tpl), needs_headers);
    assert_int_equal(ph_template_is_aggregate_id(tpl), is_id);
    assert_int_equal(ph_template_by_type(tpl), by_type);
    ph_template_free(tpl);
}

static void kinds(void **state)
{
    (void)state;
    check_kinds("{aggregate_id}", false, true, false);
    check_kinds("{aggregate_id}{aggregate_id}", false, false, false);
    check_kinds("x{aggregate_id}", false, false, false);
    check_kinds("{header:aggregate_id}", true, false, false);
    check_kinds("a.{aggregate_type}.{event_type}", false, false, true);
    check_kinds("constant", false, false, true);
    check_kinds("{aggregate_type}{header:x}", true, false, false);
}

static void check_bad(struct ph_str text, const char *place)
{
    struct ph_template *tpl = NULL;
    struct ph_error err = {0};
    assert_int_equal(ph_template_new(text, &tpl, &err), PH_E_CONFIG);
    assert_null(tpl);
    if (!strstr(err.text, place)) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, place);
    }
    assert_int_equal(ph_template_new(text, &tpl, NULL), PH_E_CONFIG);
}

static void mistakes(void **state)
{
    (void)state;
    check_bad(PH_STR(""), "1 to");
    check_bad(PH_STR("abc{"), "character 4");
    check_bad(PH_STR("abc}"), "character 4");
    check_bad(PH_STR("{aggregate_typ}"), "character 1: no such field; write {aggregate_type}");
    check_bad(PH_STR("ab{}"), "character 3: no such field");
    check_bad(PH_STR("{header:}"), "no such field");
    check_bad(PH_STR("{header}"), "no such field");
    check_bad(PH_STR("{header:a{b}"), "no such field");
    check_bad(PH_STR("{ event_type}"), "no such field");
    check_bad(PH_STR("{event_type"), "'{' without '}'");
    check_bad(PH_STR("{event_type}}"), "'}' without '{'");
    check_bad(PH_STR("a\0b"), "zero byte");
    char text[5000];
    memset(text, 'x', sizeof text);
    check_bad((struct ph_str){text, sizeof text}, "1 to");
    char many[65 * 14 + 1] = "";
    for (size_t i = 0; i < 65; i++) {
        memcpy(many + i * 14, "{aggregate_id}", 14);
    }
    check_bad((struct ph_str){many, sizeof many - 1}, "character 897: too many parts");
    many[64 * 14] = 'x';
    check_bad((struct ph_str){many, 64 * 14 + 1}, "too many parts");
}

static void check_hole(const char *text, const char *field)
{
    struct ph_arena arena;
    struct ph_template *tpl = NULL;
    struct ph_event event = {.aggregate_type = PH_STR("")};
    struct ph_str out = PH_STR("before");
    struct ph_error err = {0};
    ph_arena_init(&arena, 10000);
    assert_int_equal(ph_template_new(ph_str_from(text), &tpl, NULL), 0);
    assert_int_equal(ph_template_fill(tpl, &arena, &event, headers, COUNT(headers), &out, &err),
                     PH_E_REFUSED);
    assert_non_null(strstr(err.text, field));
    assert_str(out, "before");
    ph_template_free(tpl);
    ph_arena_free(&arena);
}

static void holes_are_refused(void **state)
{
    (void)state;
    check_hole("a.{aggregate_type}", "{aggregate_type} is empty");
    check_hole("{aggregate_id}", "{aggregate_id} is absent");
    check_hole("{event_type}", "{event_type} is absent");
    check_hole("x{header:none}", "{header:none} is absent");
    check_hole("{header:empty}", "{header:empty} is empty");
    check_hole("{header:Tenant}", "{header:Tenant} is absent");
}

static void memory_fails(void **state)
{
    (void)state;
    struct ph_template *tpl = NULL;
    for (long ok = 0; ok < 2; ok++) {
        unit_memory_fail_after(ok);
        assert_int_equal(ph_template_new(PH_STR("{event_type}x"), &tpl, NULL), PH_E_NOMEM);
    }
    unit_memory_fail_after(-1);
    assert_int_equal(ph_template_new(PH_STR("{event_type}x"), &tpl, NULL), 0);
    struct ph_arena arena;
    struct ph_event event = order_event();
    struct ph_str out;
    ph_arena_init(&arena, 8);
    assert_int_equal(ph_template_fill(tpl, &arena, &event, NULL, 0, &out, NULL), PH_E_NOMEM);
    ph_template_free(tpl);
    ph_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),
        cmocka_unit_test(one_field_is_not_copied),
        cmocka_unit_test(kinds),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(holes_are_refused),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests_name("core/template", tests, unit_memory_watch,
                                       unit_memory_restore);
}
