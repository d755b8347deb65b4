/* Changes of parked rows as the databases take them. */
#include "unit.h"

#include "core/park.h"

static void is_json(void **state)
{
    (void)state;
    const struct ph_park_change changes[] = {
        {.act = PH_PARK_PUT,
         .state = PH_PARK_PARKED,
         .at = {5, 7},
         .key = PH_STR("a\"b"),
         .attempts = 1,
         .wait_ms = 250,
         .error = PH_STR("no\nroom")},
        {.act = PH_PARK_FAILED, .state = PH_PARK_DEAD, .at = {5, 8}, .wait_ms = -1, .passed = true},
        {.act = PH_PARK_SENT, .at = {1, 2}},
        {.act = PH_PARK_QUEUE, .at = {1, 3}, .wait_ms = -1},
        {.act = PH_PARK_TOLD, .state = PH_PARK_SCHEDULED, .at = {1, 4}, .wait_ms = -1},
    };
    struct ph_buf out;
    ph_buf_init(&out, 4096);
    ph_park_json(changes, COUNT(changes), &out);
    assert_string_equal(
        ph_buf_text(&out),
        "[{\"act\":\"put\",\"state\":\"parked\",\"tick\":5,\"position\":7,\"attempts\":1,"
        "\"passed\":false,\"wait_ms\":250,\"key\":\"a\\\"b\",\"error\":\"no\\nroom\"},"
        "{\"act\":\"failed\",\"state\":\"dead\",\"tick\":5,\"position\":8,\"attempts\":0,"
        "\"passed\":true,\"wait_ms\":null,\"key\":null,\"error\":null},"
        "{\"act\":\"sent\",\"state\":\"parked\",\"tick\":1,\"position\":2,\"attempts\":0,"
        "\"passed\":false,\"wait_ms\":0,\"key\":null,\"error\":null},"
        "{\"act\":\"queue\",\"state\":\"parked\",\"tick\":1,\"position\":3,\"attempts\":0,"
        "\"passed\":false,\"wait_ms\":null,\"key\":null,\"error\":null},"
        "{\"act\":\"told\",\"state\":\"scheduled\",\"tick\":1,\"position\":4,\"attempts\":0,"
        "\"passed\":false,\"wait_ms\":null,\"key\":null,\"error\":null}]");
    ph_buf_clear(&out);
    ph_park_json(changes, 0, &out);
    assert_string_equal(ph_buf_text(&out), "[]");
    ph_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_json)};
    return cmocka_run_group_tests_name("park", tests, NULL, NULL);
}
