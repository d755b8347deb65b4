/* The words of a command: what its table allows, what each mistake is called, and the help pages.
 */
#include "unit.h"

#include "cli/commands.h"

static const struct ph_cli_option options[] = {
    {"from", "URI", "A source.", false},
    {"set", "K=V", "An option.", true},
    {"once", NULL, "A flag.", false},
    PH_CLI_OPTION_END,
};

static const struct ph_command with_operand = {.name = "test",
                                               .summary = "A test.",
                                               .usage = "test FILE\ntest --once",
                                               .operands = {"FILE"},
                                               .operands_needed = 1,
                                               .options = options};
static const struct ph_command with_two = {.name = "two",
                                           .usage = "two FILE NAME",
                                           .operands = {"FILE", "NAME"},
                                           .operands_needed = 2,
                                           .options = options};
static const struct ph_command without = {.name = "bare", .usage = "bare", .options = options};

static struct ph_cli cli;

static int parse(const struct ph_command *command, const char *const *words, struct ph_error *err)
{
    char *argv[16] = {NULL}; /* getopt moves them */
    int argc = 0;
    argv[argc++] = (char *)(uintptr_t) "test";
    while (*words) {
        argv[argc++] = (char *)(uintptr_t)*words++;
    }
    return ph_cli_parse(&cli, command, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void good(void **state)
{
    (void)state;
    const char *all[4];
    assert_int_equal(parse(&with_operand, WORDS("--set", "a=1", "file", "--set=b", "--once"), NULL),
                     0);
    assert_string_equal(cli.operands[0], "file");
    assert_int_equal(ph_cli_all(&cli, "set", all, 4), 2);
    assert_string_equal(all[0], "a=1");
    assert_string_equal(all[1], "b");
    assert_int_equal(ph_cli_all(&cli, "set", all, 1), 1);
    assert_string_equal(ph_cli_get(&cli, "once"), "");
    assert_null(ph_cli_get(&cli, "from"));
    assert_int_equal(ph_cli_need(&cli, "once", NULL), 0);
    assert_int_equal(ph_cli_need(&cli, "from", NULL), PH_E_USAGE);

    assert_int_equal(parse(&with_operand, WORDS("--from", "--once", "--", "--odd"), NULL), 0);
    assert_string_equal(ph_cli_get(&cli, "from"), "--once"); /* a value, whatever it looks like */
    assert_string_equal(cli.operands[0], "--odd");
    assert_int_equal(parse(&with_two, WORDS("a", "--once", "b"), NULL), 0);
    assert_string_equal(cli.operands[0], "a");
    assert_string_equal(cli.operands[1], "b");
    assert_int_equal(parse(&with_operand, WORDS("--help"), NULL), 0);
    assert_null(cli.operands[0]);
    assert_int_equal(parse(&without, WORDS("--log-level", "x", "--from="), NULL), 0);
    assert_string_equal(ph_cli_get(&cli, "from"), "");
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const struct ph_command *command;
        const char *words[6];
        const char *expected;
    } cases[] = {
        {&with_operand, {NULL}, "FILE is missing"},
        {&with_operand, {"a", "b"}, "\"b\" has no place here"},
        {&with_two, {"a"}, "NAME is missing"},
        {&with_two, {"a", "b", "c"}, "\"c\" has no place here"},
        {&without, {"a"}, "\"a\" has no place here"},
        {&with_operand, {"a", "--form", "x"}, "unknown option --form (did you mean --from?)"},
        {&with_operand, {"--form", "x", "a"}, "unknown option --form (did you mean --from?)"},
        {&with_operand, {"a", "--form=x"}, "unknown option --form (did you mean --from?)"},
        {&with_operand, {"a", "--completely-different"}, "unknown option --completely-different"},
        {&with_operand, {"a", "-x"}, "unknown option -x"},
        {&with_operand, {"a", "-xyz"}, "unknown option -x"},
        {&with_operand, {"a", "--from"}, "option --from needs a value"},
        {&with_operand, {"a", "--once=1"}, "option --once takes no value"},
        {&with_operand, {"a", "--from=1", "--from=2"}, "option --from was given twice"},
        {&with_operand, {"a", "--once", "--once"}, "option --once was given twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ph_error err = {0};
        if (parse(cases[i].command, cases[i].words, &err) != PH_E_USAGE ||
            !strstr(err.text, cases[i].expected)) {
            fail_msg("case %zu: '%s', expected '%s'", i, err.text, cases[i].expected);
        }
    }
}

static void long_words(void **state)
{
    (void)state;
    char word[5000];
    struct ph_error err = {0};
    memset(word, 'x', sizeof word);
    memcpy(word, "--", 2);
    word[sizeof word - 1] = '\0';
    assert_int_equal(parse(&without, WORDS(word), &err), PH_E_USAGE);
    assert_true(strlen(err.text) < 200);
}

static void too_many(void **state)
{
    (void)state;
    char *argv[PH_CLI_VALUES_MAX + 3];
    struct ph_error err = {0};
    for (size_t i = 0; i < COUNT(argv); i++) {
        argv[i] = (char *)(uintptr_t) "--set=a";
    }
    argv[COUNT(argv) - 1] = NULL;
    assert_int_equal(ph_cli_parse(&cli, &without, (int)COUNT(argv) - 1, argv, &err), PH_E_USAGE);
}

static void commands(void **state)
{
    (void)state;
    for (size_t i = 0; ph_commands[i]; i++) {
        const struct ph_command *command = ph_commands[i];
        assert_ptr_equal(ph_command_find(command->name), command);
        assert_int_equal(strncmp(command->usage, command->name, strlen(command->name)), 0);
        struct ph_buf page;
        ph_buf_init(&page, 1 << 20);
        ph_cli_help(command, &page);
        assert_false(page.failed);
        assert_non_null(strstr(ph_buf_text(&page), command->summary));
        for (const struct ph_cli_option *o = command->options; o && o->name; o++) {
            assert_non_null(strstr(ph_buf_text(&page), o->name));
            assert_non_null(strstr(ph_buf_text(&page), o->help));
        }
        ph_buf_free(&page);
    }
    assert_null(ph_command_find("nothing"));
}

static void front_page(void **state)
{
    (void)state;
    struct ph_buf page;
    ph_buf_init(&page, 1 << 20);
    ph_cli_help(NULL, &page);
    for (size_t i = 0; ph_commands[i]; i++) {
        assert_non_null(strstr(ph_buf_text(&page), ph_commands[i]->summary));
    }
    ph_buf_clear(&page);
    ph_cli_versions(&page);
    assert_non_null(strstr(ph_buf_text(&page), "posthorn "));
    assert_non_null(strstr(ph_buf_text(&page), "\nlibpq "));
    ph_buf_clear(&page);
    ph_cli_versions_line(&page);
    assert_null(strchr(ph_buf_text(&page), '\n'));
    ph_buf_free(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(mistakes, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(long_words, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(too_many, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(commands, unit_memory_watch, unit_memory_restore),
        cmocka_unit_test_setup_teardown(front_page, unit_memory_watch, unit_memory_restore),
    };
    return cmocka_run_group_tests_name("cli/cli", tests, NULL, NULL);
}
