/*
 * posthorn config check|dump|docs: the configuration before it is run.
 * Place: a row of ph_commands over config/.
 * Promise: opens nothing but the file and the secrets that it names, and shows none of these.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "config/config.h"
#include "config/docs.h"
#include "config/dump.h"

static const struct {
    const char *name;
    void (*put)(struct ph_buf *out);
} formats[] = {
    {"md", ph_docs_markdown},
    {"man", ph_docs_man},
    {"schema", ph_docs_schema},
    {"example", ph_docs_example},
};

/* The file of --config, or of POSTHORN_CONFIG. */
static const char *find_path(const struct ph_cli *cli)
{
    const char *path = ph_cli_get(cli, "config");
    return path ? path : getenv("POSTHORN_CONFIG");
}

static int load(const struct ph_cli *cli, struct ph_config *config)
{
    const char *assignments[PH_CLI_VALUES_MAX];
    const struct ph_config_args args = {
        .path = find_path(cli),
        .assignments = assignments,
        .assignment_count = ph_cli_all(cli, "set", assignments, PH_CLI_VALUES_MAX),
        .environ = environ,
    };
    struct ph_buf problems;
    ph_buf_init(&problems, PH_CLI_PAGE_MAX);
    int rc = ph_config_load(&args, config, &problems);
    ph_cli_complain_all(&problems);
    ph_buf_free(&problems);
    return rc;
}

static int check_or_dump(const struct ph_cli *cli, bool dump)
{
    struct ph_error err = {0};
    struct ph_config config = {.count = 0};
    struct ph_buf page;
    if (!find_path(cli)) {
        (void)ph_fail(&err, PH_E_USAGE, "config: --config FILE is missing");
        return ph_cli_fail(&err);
    }
    ph_buf_init(&page, 16 * PH_CLI_PAGE_MAX);
    int status = ph_code_exit(load(cli, &config));
    if (status == PH_EXIT_OK && dump) {
        ph_config_dump(&config, &page);
    } else if (status == PH_EXIT_OK) {
        ph_buf_printf(&page, "%s: OK, %zu pipeline%s\n", find_path(cli), config.count,
                      config.count == 1 ? "" : "s");
    }
    if (status == PH_EXIT_OK) {
        status = ph_cli_print(&page);
    }
    ph_buf_free(&page);
    ph_config_free(&config);
    return status;
}

static int docs(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    const char *format = ph_cli_get(cli, "format");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(format ? format : "md", formats[i].name) == 0) {
            struct ph_buf page;
            ph_buf_init(&page, 16 * PH_CLI_PAGE_MAX);
            formats[i].put(&page);
            int status = ph_cli_print(&page);
            ph_buf_free(&page);
            return status;
        }
    }
    (void)ph_fail(&err, PH_E_USAGE, "config: --format %s: must be md, man, schema or example",
                  format);
    return ph_cli_fail(&err);
}

static int config_run(const struct ph_cli *cli)
{
    struct ph_error err = {0};
    const char *what = cli->operands[0];
    if (strcmp(what, "check") == 0 || strcmp(what, "dump") == 0) {
        return check_or_dump(cli, *what == 'd');
    }
    if (strcmp(what, "docs") == 0) {
        return docs(cli);
    }
    (void)ph_fail(&err, PH_E_USAGE, "config: \"%s\" is none of check, dump and docs", what);
    return ph_cli_fail(&err);
}

static const struct ph_cli_option config_options[] = {
    {"config", "FILE", "The configuration; else the file of POSTHORN_CONFIG.", false},
    {"set", "PIPELINE.KEY=VALUE", "Sets an option; * stands for all pipelines.", true},
    {"format", "md|man|schema|example", "What docs writes (md).", false},
    PH_CLI_OPTION_END,
};

const struct ph_command ph_cmd_config = {
    .name = "config",
    .summary = "Checks a configuration, shows what holds, or documents the options.",
    .usage = "config check --config FILE [--set PIPELINE.KEY=VALUE]...\n"
             "config dump --config FILE [--set PIPELINE.KEY=VALUE]...\n"
             "config docs [--format md|man|schema|example]",
    .operands = {"check|dump|docs"},
    .operands_needed = 1,
    .options = config_options,
    .details =
        "check: all mistakes of file, environment and --set at once; exit status 78 when there "
        "are\n"
        "any. dump: every value of every pipeline as YAML, with where it came from; secrets are\n"
        "written as ***. docs: the page, the manual, a JSON Schema for editors, or a file with\n"
        "every option.",
    .run = config_run,
};
