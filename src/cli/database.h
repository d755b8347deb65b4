/* A connection to the database that a command was given, for commands that look at the log. */
#ifndef PH_CLI_DATABASE_H
#define PH_CLI_DATABASE_H

#include "db/postgres.h"

/* Connects as "posthorn NAME". */
int ph_database_connect(struct ph_pg *pg, const char *uri, const char *name,
                        struct ph_error *err) PH_MUST_CHECK;
/* The same, and PH_E_CONFIG where Posthorn's schema is missing. */
int ph_database_open(struct ph_pg *pg, const char *uri, const char *name,
                     struct ph_error *err) PH_MUST_CHECK;
/* 1 when the database has a schema named posthorn, 0 when not. */
int ph_database_has_schema(struct ph_pg *pg, struct ph_error *err) PH_MUST_CHECK;
/* One query in a read-only transaction of its own, without JIT, whose compiling costs more than our
 * queries do. As ph_pg_query. */
int ph_database_read(struct ph_pg *pg, const char *sql, int count, const char *const *params,
                     PGresult **ret, struct ph_error *err) PH_MUST_CHECK;

#endif
