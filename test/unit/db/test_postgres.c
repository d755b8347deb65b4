/* The connection: classes of errors, what a message may show, time limits, and the wish to stop. */
#include "unit.h"

#include "base/clock.h"
#include "db/postgres.h"
#include "fake_pg.h"

static int64_t since_ms(int64_t us)
{
    return (ph_clock_mono_us() - us) / 1000;
}

static void conninfo_of(const struct fake_pg *fake, char out[160])
{
    (void)snprintf(out, 160,
                   "host=127.0.0.1 port=%d user=u dbname=d sslmode=disable gssencmode=disable",
                   fake->port);
}

static void open_fake(struct fake_pg *fake, struct ph_pg *pg, struct ph_stop *stop)
{
    char conninfo[160];
    struct ph_error err = {0};
    fake_start(fake);
    conninfo_of(fake, conninfo);
    if (ph_pg_open(pg, conninfo, "orders", stop, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void end_fake(struct fake_pg *fake, struct ph_pg *pg)
{
    ph_pg_close(pg);
    fake_end(fake);
}

static void codes_of_sqlstates(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        int code;
    } rows[] = {
        {"08006", PH_E_UNAVAILABLE}, {"08P01", PH_E_UNAVAILABLE}, {"28P01", PH_E_CONFIG},
        {"28000", PH_E_CONFIG},      {"3D000", PH_E_CONFIG},      {"3F000", PH_E_CONFIG},
        {"42501", PH_E_CONFIG},      {"42P01", PH_E_CONFIG},      {"42883", PH_E_CONFIG},
        {"42601", PH_E_SOFTWARE},    {"42703", PH_E_SOFTWARE},    {"25006", PH_E_UNAVAILABLE},
        {"22P02", PH_E_DATA},        {"22003", PH_E_DATA},        {"23505", PH_E_DATA},
        {"23514", PH_E_DATA},        {"40001", PH_E_UNAVAILABLE}, {"40P01", PH_E_UNAVAILABLE},
        {"53100", PH_E_UNAVAILABLE}, {"53300", PH_E_UNAVAILABLE}, {"55P03", PH_E_UNAVAILABLE},
        {"57014", PH_E_UNAVAILABLE}, {"57P01", PH_E_UNAVAILABLE}, {"57P03", PH_E_UNAVAILABLE},
        {"58030", PH_E_UNAVAILABLE}, {"XX000", PH_E_UNAVAILABLE}, {"P0001", PH_E_UNAVAILABLE},
        {"", PH_E_UNAVAILABLE},      {NULL, PH_E_UNAVAILABLE},    {"4", PH_E_UNAVAILABLE},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (ph_pg_code(rows[i].sqlstate) != rows[i].code) {
            fail_msg("%s gave %s", rows[i].sqlstate, ph_code_name(ph_pg_code(rows[i].sqlstate)));
        }
    }
}

static void passwords_are_seen(void **state)
{
    (void)state;
    assert_true(ph_pg_has_password("postgresql://u:secret@h/db"));
    assert_true(ph_pg_has_password("postgres://u:secret@h"));
    assert_true(ph_pg_has_password("postgresql://h/db?user=u&password=secret"));
    assert_true(ph_pg_has_password("postgresql://u:p%40ss@h1:5432,h2:5433/db"));
    assert_true(ph_pg_has_password("host=h password=secret"));
    assert_true(ph_pg_has_password("host=h password = 'my secret'"));
    assert_true(ph_pg_has_password("host=h sslpassword=secret"));
    assert_false(ph_pg_has_password("postgresql://u@h/db"));
    assert_false(ph_pg_has_password("postgresql://password@h/password?application_name=password"));
    assert_false(ph_pg_has_password("host=h passfile=/etc/pgpass"));
    assert_false(ph_pg_has_password("service=orders"));
    assert_false(ph_pg_has_password("orders"));
    assert_false(ph_pg_has_password(""));
}

static void redacted_texts_show_no_password(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "postgresql://u:secret@h/db",
        "postgresql://u:s%65cret@h/db?sslpassword=secret",
        "postgresql://h/db?user=u&password=secret",
        "host=h user=u dbname=db password=secret",
        "host=h user=u dbname=db password='a secret' sslpassword=secret",
        "host=h user=u dbname=db password=my secret",
        "postgresql://u:secret%zz@h/db",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *shown = ph_pg_redact(texts[i]);
        assert_non_null(shown);
        assert_null(strstr(shown, "secret"));
        ph_mem_free(shown);
    }
    char *shown = ph_pg_redact("postgresql://u:secret@h:5433/db?application_name=x");
    assert_string_equal(shown, "user=u dbname=db host=h port=5433 application_name=x");
    ph_mem_free(shown);
    unit_memory_fail_after(0);
    assert_null(ph_pg_redact("host=h"));
    unit_memory_fail_after(-1);
}

/* A connection string that cannot work is the person's to mend, and its password stays unsaid. */
static void bad_connection_strings(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "host=h password=my secret",
        "host=h password='secret",
        "host=h colour=secret",
        "postgresql://u:secret%zz@h/db",
        "postgresql://u:secret%00@h/db",
        "postgresql://u:secret@[::1/db",
        "postgresql://u:secret@h/db?colour=red",
        "postgresql://u:secret@h/db?sslmode",
        "host=127.0.0.1 port=secret",
        "host=127.0.0.1 port=99999999",
        "host=127.0.0.1 port=1 sslmode=secret",
        "host=127.0.0.1 port=1 channel_binding=secret",
        "host=127.0.0.1 port=1 target_session_attrs=secret",
        "host=127.0.0.1 port=1 gssencmode=secret",
        "host=127.0.0.1 port=1,2,3",
        "service=no_such_service_here",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct ph_pg pg;
        struct ph_error err = {0};
        int rc = ph_pg_open(&pg, texts[i], "orders", NULL, &err);
        if (rc != PH_E_CONFIG) {
            fail_msg("%s gave %s: %s", texts[i], ph_code_name(rc), err.text);
        }
        if (strstr(texts[i], "pass") || strstr(texts[i], "://")) {
            if (strstr(err.text, "secret")) {
                fail_msg("%s is shown: %s", texts[i], err.text);
            }
        }
    }
}

static void nobody_listens(void **state)
{
    (void)state;
    int port;
    char conninfo[160];
    int fd = fake_listen(&port);
    (void)close(fd);
    (void)snprintf(conninfo, sizeof conninfo, "host=127.0.0.1 port=%d user=u dbname=d", port);
    struct ph_pg pg;
    struct ph_error err = {0};
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_pg_open(&pg, conninfo, "orders", NULL, &err), PH_E_UNAVAILABLE);
    assert_true(since_ms(before) < 5000);
    assert_non_null(strstr(err.text, "refused"));
    assert_null(pg.conn);
    ph_pg_close(&pg); /* harmless */
    assert_int_equal(ph_pg_open(&pg, "host=/nonexistent user=u dbname=d", "orders", NULL, &err),
                     PH_E_UNAVAILABLE);
}

struct late_stop {
    struct ph_stop *stop;
    int after_ms;
};

static void *request_late(void *arg)
{
    const struct late_stop *late = arg;
    (void)ph_stop_wait(NULL, late->after_ms);
    ph_stop_request(late->stop);
    return NULL;
}

static void stop_ends_a_connect(void **state)
{
    (void)state;
    struct fake_pg fake = {.silent = true};
    struct ph_stop stop;
    struct ph_pg pg;
    struct ph_error err = {0};
    char conninfo[160];
    pthread_t thread;
    struct late_stop late = {&stop, 100};
    fake_start(&fake);
    conninfo_of(&fake, conninfo);
    assert_int_equal(ph_stop_init(&stop, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, request_late, &late), 0);
    int64_t before = ph_clock_mono_us();
    int rc = ph_pg_open(&pg, conninfo, "orders", &stop, &err);
    int64_t took_ms = since_ms(before);
    (void)pthread_join(thread, NULL);
    fake_end(&fake);
    ph_stop_free(&stop);
    assert_int_equal(rc, PH_E_STOPPED);
    assert_true(took_ms >= 90 && took_ms < 2000);
}

static void refused_at_the_door(void **state)
{
    (void)state;
    static const struct {
        const char *const fields[5];
        int code;
    } rows[] = {
        {{"SFATAL", "C28P01", "Mpassword authentication failed for user \"u\""}, PH_E_CONFIG},
        {{"SFATAL", "C28000", "MPeer authentication failed for user \"u\""}, PH_E_CONFIG},
        {{"SFATAL", "C28000", "Mno pg_hba.conf entry for host \"x\""}, PH_E_CONFIG},
        {{"SFATAL", "C28000", "Mrole \"u\" does not exist"}, PH_E_CONFIG},
        {{"SFATAL", "C28000", "Mrole \"u\" is not permitted to log in"}, PH_E_CONFIG},
        {{"SFATAL", "C3D000", "Mdatabase \"d\" does not exist"}, PH_E_CONFIG},
        {{"SFATAL", "C42501", "Mpermission denied for database \"d\""}, PH_E_CONFIG},
        {{"SFATAL", "C57P03", "Mthe database system is starting up"}, PH_E_UNAVAILABLE},
        {{"SFATAL", "C57P03", "Mthe database system is in recovery mode"}, PH_E_UNAVAILABLE},
        {{"SFATAL", "C53300", "Msorry, too many clients already"}, PH_E_UNAVAILABLE},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fake_pg fake = {0};
        struct ph_pg pg;
        struct ph_error err = {0};
        char conninfo[160];
        ph_buf_init(&fake.refusal, 65536);
        fake_put_error(&fake.refusal, rows[i].fields);
        fake_start(&fake);
        conninfo_of(&fake, conninfo);
        int rc = ph_pg_open(&pg, conninfo, "orders", NULL, &err);
        fake_end(&fake);
        if (rc != rows[i].code) {
            fail_msg("\"%s\" is %s", err.text, ph_code_name(rc));
        }
        assert_non_null(strstr(err.text, rows[i].fields[2] + 1));
        assert_null(strchr(err.text, '\n'));
    }
}

static bool startup_has(const struct fake_pg *fake, const char *name, const char *value)
{
    const char *at = fake->startup.ptr + 4, *end = fake->startup.ptr + fake->startup.len;
    while (at < end && *at != '\0') {
        const char *its = at + strlen(at) + 1;
        if (strcmp(at, name) == 0) {
            return strcmp(its, value) == 0;
        }
        at = its + strlen(its) + 1;
    }
    return false;
}

static bool startup_says(struct fake_pg *fake, const char *name, const char *value)
{
    (void)pthread_mutex_lock(&fake->mutex);
    bool says = startup_has(fake, name, value);
    (void)pthread_mutex_unlock(&fake->mutex);
    return says;
}

static void says_who_it_is(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_pg pg;
    open_fake(&fake, &pg, NULL);
    assert_true(startup_says(&fake, "application_name", "posthorn orders"));
    assert_true(startup_says(&fake, "client_encoding", "UTF8"));
    assert_true(startup_says(&fake, "user", "u"));
    assert_int_equal(PQisnonblocking(pg.conn), 1);
    end_fake(&fake, &pg);
}

static void a_query_gives_rows(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_buf *answer = fake_answer(&fake);
    fake_put(answer, '1', "", 0);
    fake_put(answer, '2', "", 0);
    fake_put_row(answer, (const char *const[]){"-42", NULL, "x", "12x"}, 4);
    fake_put_done(answer, "SELECT 1");
    fake_put_ready(answer, 'I');
    struct ph_pg pg;
    struct ph_error err = {0};
    PGresult *res = NULL;
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_query(&pg, "SELECT $1", 1, (const char *const[]){"v"}, &res, &err), 0);
    assert_non_null(res);
    assert_int_equal(ph_pg_i64(res, 0, 0), -42);
    assert_null(ph_pg_value(res, 0, 1));
    assert_int_equal(ph_pg_i64(res, 0, 1), 0);
    assert_string_equal(ph_pg_value(res, 0, 2), "x");
    assert_int_equal(ph_pg_i64(res, 0, 2), 0);
    assert_int_equal(ph_pg_i64(res, 0, 3), 0);
    PQclear(res);
    assert_true(fake_saw(&fake, 1, "SELECT $1"));
    end_fake(&fake, &pg);
}

/* The message has what helps and not what may quote a row. */
static void errors_have_the_hint_and_no_detail(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_buf *answer = fake_answer(&fake);
    fake_put_error(answer, (const char *const[]){"SERROR", "VERROR", "C23505",
                                                 "Mduplicate key\nsecond line",
                                                 "DKey (id)=(secret) already exists.",
                                                 "Hrun posthorn init\nmore", NULL});
    fake_put_ready(answer, 'I');
    struct ph_pg pg;
    struct ph_error err = {0};
    PGresult *res = NULL;
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_query(&pg, "SELECT 1", 0, NULL, &res, &err), PH_E_DATA);
    assert_null(res);
    assert_string_equal(err.text, "PostgreSQL: duplicate key (SQLSTATE 23505); run posthorn init");
    end_fake(&fake, &pg);
}

static void a_script_keeps_the_last_rows(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_buf *answer = fake_answer(&fake);
    fake_put_done(answer, "BEGIN");
    fake_put_row(answer, (const char *const[]){"1"}, 1);
    fake_put_done(answer, "SELECT 1");
    fake_put_row(answer, (const char *const[]){"2"}, 1);
    fake_put_done(answer, "SELECT 1");
    fake_put_done(answer, "COMMIT");
    fake_put_ready(answer, 'I');
    struct ph_pg pg;
    PGresult *res = NULL;
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_script(&pg, "BEGIN; SELECT 1; SELECT 2; COMMIT", &res, NULL), 0);
    assert_int_equal(PQntuples(res), 1);
    assert_int_equal(ph_pg_i64(res, 0, 0), 2);
    PQclear(res);
    end_fake(&fake, &pg);
}

static void a_failed_script_is_rolled_back(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_buf *answer = fake_answer(&fake);
    fake_put_done(answer, "BEGIN");
    fake_put_row(answer, (const char *const[]){"1"}, 1);
    fake_put_done(answer, "SELECT 1");
    fake_put_error(answer, (const char *const[]){"SERROR", "C55P03", "Mlock not available", NULL});
    fake_put_ready(answer, 'E');
    answer = fake_answer(&fake);
    fake_put(answer, '1', "", 0);
    fake_put(answer, '2', "", 0);
    fake_put(answer, 'n', "", 0);
    fake_put_done(answer, "ROLLBACK");
    fake_put_ready(answer, 'I');
    struct ph_pg pg;
    struct ph_error err = {0};
    PGresult *res = NULL;
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_script(&pg, "BEGIN; SELECT 1; LOCK t; COMMIT", &res, &err),
                     PH_E_UNAVAILABLE);
    assert_null(res);
    assert_non_null(strstr(err.text, "lock not available"));
    assert_true(fake_saw(&fake, 2, "ROLLBACK"));
    assert_int_equal(PQtransactionStatus(pg.conn), PQTRANS_IDLE);
    end_fake(&fake, &pg);
}

static void copy_is_not_a_query(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    fake_put(fake_answer(&fake), 'H', "\1\0\0", 3);
    struct ph_pg pg;
    struct ph_error err = {0};
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_script(&pg, "COPY t TO STDOUT", NULL, &err), PH_E_SOFTWARE);
    end_fake(&fake, &pg);
}

static void no_answer_in_time(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    struct ph_pg pg;
    struct ph_error err = {0};
    open_fake(&fake, &pg, NULL);
    assert_int_equal(pg.timeout_ms, PH_PG_TIMEOUT_MS);
    pg.timeout_ms = 200;
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_pg_query(&pg, "SELECT 1", 0, NULL, NULL, &err), PH_E_UNAVAILABLE);
    assert_true(since_ms(before) >= 190 && since_ms(before) < 5000);
    end_fake(&fake, &pg);
}

static void the_peer_hangs_up(void **state)
{
    (void)state;
    struct fake_pg fake = {.hang_up = true};
    fake_put_row(fake_answer(&fake), (const char *const[]){"half"}, 1);
    struct ph_pg pg;
    struct ph_error err = {0};
    PGresult *res = NULL;
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_query(&pg, "SELECT 1", 0, NULL, &res, &err), PH_E_UNAVAILABLE);
    assert_null(res);
    assert_true(strlen(err.text) > 0);
    ph_error_clear(&err); /* and what follows fails at once */
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_pg_query(&pg, "SELECT 2", 0, NULL, &res, &err), PH_E_UNAVAILABLE);
    assert_true(since_ms(before) < 2000);
    end_fake(&fake, &pg);
}

static void asking_without_waiting(void **state)
{
    (void)state;
    struct fake_pg fake = {0};
    (void)fake_answer(&fake); /* nothing yet */
    struct ph_pg pg;
    struct ph_error err = {0};
    open_fake(&fake, &pg, NULL);
    assert_int_equal(ph_pg_send(&pg, "SELECT 1", 0, NULL, &err), 0);
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_pg_ready(&pg, &err), 0);
    assert_int_equal(ph_pg_wait(&pg, 0, &err), 0);
    assert_int_equal(ph_pg_wait(&pg, 50, &err), 0);
    assert_int_equal(ph_pg_wait_input(&pg, 50, &err), 0);
    assert_true(since_ms(before) >= 95 && since_ms(before) < 3000);
    end_fake(&fake, &pg);
}

/* The limits that take long, side by side: a connect to somebody who says nothing, and a statement
 * without an answer once stop is wanted. */
static void *slow_connect(void *arg)
{
    int64_t *ret = arg;
    struct fake_pg fake = {.silent = true};
    struct ph_pg pg;
    struct ph_error err = {0};
    char conninfo[160];
    fake_start(&fake);
    conninfo_of(&fake, conninfo);
    int64_t before = ph_clock_mono_us();
    int rc = ph_pg_open(&pg, conninfo, "orders", NULL, &err);
    ret[0] = rc;
    ret[1] = since_ms(before);
    fake_end(&fake);
    return NULL;
}

static void limits_hold(void **state)
{
    (void)state;
    int64_t connect[2] = {0};
    pthread_t connecting, stopping;
    assert_int_equal(pthread_create(&connecting, NULL, slow_connect, connect), 0);

    struct fake_pg fake = {0};
    struct ph_pg pg;
    struct ph_stop stop;
    struct ph_error err = {0};
    struct late_stop late = {&stop, 50};
    assert_int_equal(ph_stop_init(&stop, NULL), 0);
    open_fake(&fake, &pg, &stop);
    assert_int_equal(pthread_create(&stopping, NULL, request_late, &late), 0);
    int64_t before = ph_clock_mono_us();
    assert_int_equal(ph_pg_query(&pg, "SELECT 1", 0, NULL, NULL, &err), PH_E_UNAVAILABLE);
    assert_true(since_ms(before) >= 4900 && since_ms(before) < 9000); /* the grace of a stop */
    (void)pthread_join(stopping, NULL);
    end_fake(&fake, &pg);
    ph_stop_free(&stop);

    (void)pthread_join(connecting, NULL);
    assert_int_equal(connect[0], PH_E_UNAVAILABLE);
    assert_true(connect[1] >= PH_PG_CONNECT_TIMEOUT_MS - 50);
    assert_true(connect[1] < PH_PG_CONNECT_TIMEOUT_MS + 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_of_sqlstates),
        cmocka_unit_test(passwords_are_seen),
        cmocka_unit_test(redacted_texts_show_no_password),
        cmocka_unit_test(bad_connection_strings),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(stop_ends_a_connect),
        cmocka_unit_test(refused_at_the_door),
        cmocka_unit_test(says_who_it_is),
        cmocka_unit_test(a_query_gives_rows),
        cmocka_unit_test(errors_have_the_hint_and_no_detail),
        cmocka_unit_test(a_script_keeps_the_last_rows),
        cmocka_unit_test(a_failed_script_is_rolled_back),
        cmocka_unit_test(copy_is_not_a_query),
        cmocka_unit_test(no_answer_in_time),
        cmocka_unit_test(the_peer_hangs_up),
        cmocka_unit_test(asking_without_waiting),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests_name("postgres", tests, NULL, NULL);
}
