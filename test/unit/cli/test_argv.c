/* What ps can see of the command line: passwords are gone from it, everything else stays. */
#include "unit.h"

#include "cli/argv.h"

#define WORDS_MAX 16

/* The words in memory of their own, as the system gives them. */
static struct ph_argv take(const char *const *words, char **seen)
{
    struct ph_argv args;
    int argc = 0;
    for (; words[argc]; argc++) {
        seen[argc] = malloc(strlen(words[argc]) + 1);
        assert_non_null(seen[argc]);
        memcpy(seen[argc], words[argc], strlen(words[argc]) + 1);
    }
    seen[argc] = NULL;
    assert_int_equal(ph_argv_take(&args, argc, seen, NULL), 0);
    assert_int_equal(args.count, argc);
    for (int i = 0; i < argc; i++) {
        assert_string_equal(args.words[i], words[i]);
    }
    assert_null(args.words[argc]);
    return args;
}

static void drop(struct ph_argv *args, char **seen)
{
    for (; *seen; seen++) {
        free(*seen);
    }
    ph_argv_free(args);
}

static void hidden(void **state)
{
    (void)state;
    static const char *const secrets[] = {
        "postgresql://u:geheim@h/db",
        "--from=postgresql://u:geheim@h/db",
        "postgresql://h/db?password=geheim&user=u",
        "host=h password=geheim",
        "--from=host=h password=geheim",
        "sink.kafka.sasl.password=geheim",
        "--set=sink.kafka.ssl.key.password=geheim",
        "sink.api_token=geheim",
        "orders.source.uri=postgresql://u:geheim@h/db",
        "--set=*.source.uri=postgresql://u:geheim@h/db?a=b",
        "orders.source.uri=host=h password=geheim",
    };
    for (size_t i = 0; i < COUNT(secrets); i++) {
        const char *const words[] = {"posthorn", "run", secrets[i], NULL};
        char *seen[WORDS_MAX];
        struct ph_argv args = take(words, seen);
        size_t size = strlen(secrets[i]);
        if (memmem(seen[2], size, "geheim", 6)) {
            fail_msg("still to be seen: %s", secrets[i]);
        }
        assert_true(args.scrubbed);
        assert_string_equal(seen[0], "posthorn");
        assert_string_equal(seen[1], "run");
        drop(&args, seen);
    }
}

static void untouched(void **state)
{
    (void)state;
    const char *const words[] = {"posthorn",
                                 "publish",
                                 "postgresql://u@h/db",
                                 "host=h user=u",
                                 "--payload",
                                 "{\"password\":\"x\",\"url\":\"http://a:b@c\"}",
                                 "--set",
                                 "sink.kafka.sasl.password_file=/run/secret",
                                 "--set",
                                 "route.topic=password",
                                 "kafka://h:1,i:2",
                                 "--from",
                                 "",
                                 "--",
                                 NULL};
    char *seen[WORDS_MAX];
    struct ph_argv args = take(words, seen);
    assert_false(args.scrubbed);
    for (int i = 0; words[i]; i++) {
        assert_string_equal(seen[i], words[i]);
    }
    drop(&args, seen);
}

static void memory_runs_out(void **state)
{
    (void)state;
    char posthorn[] = "posthorn", uri[] = "postgresql://u:geheim@h/db";
    char *words[] = {posthorn, uri, NULL};
    for (long ok = 0; ok < 3; ok++) {
        struct ph_argv args;
        unit_memory_fail_after(ok);
        assert_int_equal(ph_argv_take(&args, 2, words, NULL), PH_E_NOMEM);
    }
    /* Redacting may fail too: then nothing of the word may stay. */
    struct ph_argv args;
    unit_memory_fail_after(3);
    assert_int_equal(ph_argv_take(&args, 2, words, NULL), 0);
    assert_null(strstr(uri, "geheim"));
    unit_memory_fail_after(-1);
    ph_argv_free(&args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hidden, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(untouched, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(memory_runs_out, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/argv", tests, NULL, NULL);
}
