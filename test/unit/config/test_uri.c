/* URIs: no password is shown however it is written. */
#include "unit.h"

#include "config/uri.h"
#include "fake_drivers.h"

static void assert_shown(const char *uri, const char *expected)
{
    struct ph_buf out;
    ph_buf_init(&out, 65536);
    ph_uri_redact(uri, &out);
    assert_string_equal(ph_buf_text(&out), expected);
    ph_buf_free(&out);
}

static void redacted(void **state)
{
    (void)state;
    assert_shown("kafka://h:9092,i:9092", "kafka://h:9092,i:9092");
    assert_shown("kafka://u:pw@h:9092", "kafka://u:***@h:9092");
    assert_shown("kafka://u@h", "kafka://u@h");
    assert_shown("kafka://u:p@w/x@h/t?a=1", "kafka://u:***@h/t?a=1");
    assert_shown("http://h/x?a=1&api_token=t&b=2", "http://h/x?a=1&api_token=***&b=2");
    assert_shown("http://h?PASSWORD=x;y=1", "http://h?PASSWORD=***;y=1");
    assert_shown("file:/tmp/a?b", "file:/tmp/a?b");
    assert_shown("file:a\nb\x7f", "file:a?b?");
    assert_shown("", "");
    assert_shown("kafka://", "kafka://");
    assert_shown("kafka://@", "kafka://@");
}

static void redacted_postgres(void **state)
{
    (void)state;
    static const char *const with[] = {
        "postgresql://u:geheim@h/db",
        "postgresql://u@h/db?password=geheim",
        "host=h user=u password=geheim",
        "host=h password='geheim",
        "postgresql://u:geheim@h:port/db",
        "postgresql://h/db?passwrd=geheim",
        "user=u sslpassword = geheim sslkey=/k",
    };
    for (size_t i = 0; i < COUNT(with); i++) {
        struct ph_buf out;
        ph_buf_init(&out, 65536);
        ph_uri_redact(with[i], &out);
        assert_null(strstr(ph_buf_text(&out), "geheim"));
        assert_true(out.len > 0);
        ph_buf_free(&out);
    }
}

static void secrets(void **state)
{
    (void)state;
    assert_true(ph_uri_has_secret("postgresql://u:p@h/db"));
    assert_true(ph_uri_has_secret("postgresql://h/db?password=p"));
    assert_true(ph_uri_has_secret("host=h password=p"));
    assert_true(ph_uri_has_secret("host=h password='unbalanced"));
    assert_true(ph_uri_has_secret("kafka://u:p@h"));
    assert_false(ph_uri_has_secret("postgresql://u@h/db"));
    assert_false(ph_uri_has_secret("host=h user=u"));
    assert_false(ph_uri_has_secret("kafka://h:9092"));
    assert_false(ph_uri_has_secret("file:/tmp/x"));
    assert_true(ph_name_is_secret(PH_STR("sasl.password")));
    assert_true(ph_name_is_secret(PH_STR("SSL.KEY.PASSWORD")));
    assert_true(ph_name_is_secret(PH_STR("client_secret")));
    assert_true(ph_name_is_secret(PH_STR("api_token")));
    assert_true(ph_name_is_secret(PH_STR("ssl.key.pem")));
    assert_true(ph_name_is_secret(PH_STR("sasl.jaas.config")));
    assert_false(ph_name_is_secret(PH_STR("ssl.certificate.pem")));
    assert_false(ph_name_is_secret(PH_STR("ssl.key.location")));
    assert_false(ph_name_is_secret(PH_STR("sasl.username")));
    assert_false(ph_name_is_secret(PH_STR("sasl.password_file")));
    assert_false(ph_name_is_secret(PH_STR("sasl.oauthbearer.token.endpoint.url")));
    assert_false(ph_name_is_secret(PH_STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(redacted, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(redacted_postgres, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(secrets, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("config/uri", tests, NULL, NULL);
}
