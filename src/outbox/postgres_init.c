/*
 * Installs the schema in PostgreSQL, or brings it up to this program's version.
 * Place: the driver's init; runs sql/postgres/NNNN_*.sql and roles.sql as they are.
 * Promise: one transaction under an advisory lock, so two at once do not meet; running it again
 * changes nothing; what it refuses it refuses before it changes anything.
 */
#include "db/pg_schema.h"
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define SERVER_OLDEST 140000

struct migration {
    int version;
    const char *sql;
};

/* One row per file, rising. */
static const struct migration migrations[] = {
    {1, ph_sql_postgres_m0001_init},         {2, ph_sql_postgres_m0002_retention},
    {3, ph_sql_postgres_m0003_parking},      {4, ph_sql_postgres_m0004_people},
    {5, ph_sql_postgres_m0005_exactly_once}, {6, ph_sql_postgres_m0006_adopt},
    {7, ph_sql_postgres_m0007_reshard},
};

#define MIGRATION_COUNT (sizeof migrations / sizeof migrations[0])

struct init {
    struct ph_pg pg;
    int64_t version; /* found in the database; 0 = none */
    bool dry_run, roles;
    bool migrated;
    struct ph_buf *said; /* what was done, for people; or the SQL */
};

static int check_server(struct ph_pg *pg, struct ph_error *err)
{
    int version = PQserverVersion(pg->conn);
    if (version < SERVER_OLDEST) {
        return ph_fail(err, PH_E_CONFIG,
                       "this server is PostgreSQL %d.%d, Posthorn needs 14 or newer: upgrade it",
                       version / 10000, version % 10000);
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_migrate_server, 0, NULL, &res, err);
    if (rc < 0) {
        return rc;
    }
    const char *encoding = PQgetvalue(res, 0, 0);
    if (strcmp(encoding, "UTF8") != 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "database \"%s\" has the encoding %s, Posthorn needs UTF8: create one with "
                       "ENCODING 'UTF8' TEMPLATE template0",
                       PQdb(pg->conn), encoding);
    }
    if (strcmp(PQgetvalue(res, 0, 1), "t") == 0) {
        return ph_fail(err, PH_E_CONFIG,
                       "this server is a standby and cannot be written to: give init the primary");
    }
    return 0;
}

static int has_schema(struct ph_pg *pg, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(pg, ph_sql_postgres_q_migrate_schema, 0, NULL, &res, err);
    return rc < 0 ? rc : PQntuples(res) > 0;
}

/* Reads the version under the lock, so that a second init waits here and then finds the work done.
 */
static int read_version(struct init *init, struct ph_error *err)
{
    int found = has_schema(&init->pg, err);
    if (found <= 0) {
        init->version = 0;
        return found;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&init->pg, ph_sql_postgres_q_migrate_version, 0, NULL, &res, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "cannot read the version of the schema posthorn");
        return rc;
    }
    init->version = PQntuples(res) > 0 ? ph_pg_i64(res, 0, 0) : 0;
    if (init->version > PH_PG_SCHEMA_VERSION) {
        return ph_fail(err, PH_E_CONFIG,
                       "the schema is at version %lld, this posthorn knows up to %d: use a newer "
                       "posthorn",
                       (long long)init->version, PH_PG_SCHEMA_VERSION);
    }
    if (init->version < 1) {
        return ph_fail(err, PH_E_CONFIG,
                       "there is a schema posthorn without a version: it is not Posthorn's; "
                       "rename or drop it");
    }
    return 0;
}

static int set_version(struct init *init, int version, struct ph_error *err)
{
    if (version == 1) {
        return 0; /* 0001 writes the row itself */
    }
    char text[16];
    (void)snprintf(text, sizeof text, "%d", version);
    const char *params[] = {text};
    return ph_pg_query(&init->pg, ph_sql_postgres_q_migrate_done, 1, params, NULL, err);
}

static int apply_one(struct init *init, const struct migration *m, struct ph_error *err)
{
    if (init->dry_run) {
        ph_buf_printf(init->said, "-- version %d\n%s", m->version, m->sql);
        if (m->version > 1) {
            ph_buf_printf(init->said, "UPDATE posthorn.meta SET schema_version = %d;\n",
                          m->version);
        }
        return 0;
    }
    int rc = ph_pg_script(&init->pg, m->sql, NULL, err);
    if (rc == 0) {
        rc = set_version(init, m->version, err);
    }
    if (rc < 0) {
        (void)ph_fail_prefix(err, "cannot install version %d", m->version);
    }
    return rc;
}

static int apply_migrations(struct init *init, struct ph_error *err)
{
    int64_t was = init->version;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (migrations[i].version <= was) {
            continue;
        }
        int rc = apply_one(init, &migrations[i], err);
        if (rc < 0) {
            return rc;
        }
        init->version = migrations[i].version;
    }
    init->migrated = was > 0 && was < init->version;
    const char *mark = init->dry_run ? "-- " : "";
    if (init->dry_run && was < init->version) {
        return 0;
    }
    if (was == init->version) {
        ph_buf_printf(init->said, "%salready at version %lld\n", mark, (long long)was);
    } else if (was == 0) {
        ph_buf_printf(init->said, "installed schema posthorn version %lld\n",
                      (long long)init->version);
    } else {
        ph_buf_printf(init->said, "migrated schema posthorn from version %lld to %lld\n",
                      (long long)was, (long long)init->version);
    }
    return 0;
}

/* 1 when there are roles to grant to: asked for, or already in use when a migration added something
 * that they need. */
static int wants_roles(struct init *init, struct ph_error *err)
{
    if (init->roles || !init->migrated) {
        return init->roles;
    }
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    int rc = ph_pg_query(&init->pg, ph_sql_postgres_q_migrate_roles, 0, NULL, &res, err);
    return rc < 0 ? rc : PQntuples(res) > 0;
}

static int apply_roles(struct init *init, struct ph_error *err)
{
    int rc = wants_roles(init, err);
    if (rc <= 0) {
        return rc;
    }
    if (init->dry_run) {
        ph_buf_printf(init->said, "-- roles\n%s", ph_sql_postgres_roles);
        return 0;
    }
    rc = ph_pg_script(&init->pg, ph_sql_postgres_roles, NULL, err);
    if (rc < 0) {
        (void)ph_fail_prefix(err, "cannot make the roles");
        return rc;
    }
    ph_buf_puts(init->said, "granted to roles posthorn_owner, posthorn_relay, posthorn_writer\n");
    return 0;
}

static int apply_all(struct init *init, struct ph_error *err)
{
    int rc = check_server(&init->pg, err);
    if (rc == 0) {
        rc = ph_pg_script(&init->pg, ph_sql_postgres_q_migrate_begin, NULL, err);
    }
    if (rc == 0) {
        rc = read_version(init, err);
    }
    if (rc == 0 && init->dry_run) {
        ph_buf_puts(init->said, ph_sql_postgres_q_migrate_begin);
    }
    if (rc == 0) {
        rc = apply_migrations(init, err);
    }
    if (rc == 0) {
        rc = apply_roles(init, err);
    }
    if (rc < 0) {
        return rc; /* closing the connection rolls back */
    }
    if (init->dry_run) {
        ph_buf_puts(init->said, "COMMIT;\n");
    }
    return ph_pg_script(&init->pg, init->dry_run ? "ROLLBACK" : "COMMIT", NULL, err);
}

int ph__pg_outbox_init(const char *uri, const struct ph_outbox_init *how, struct ph_buf *said,
                       struct ph_error *err)
{
    struct init init = {.dry_run = how->dry_run, .roles = how->roles, .said = said};
    int rc = ph_pg_open(&init.pg, uri, "init", NULL, err);
    if (rc == 0) {
        rc = apply_all(&init, err);
        ph_pg_close(&init.pg);
    }
    return rc;
}
