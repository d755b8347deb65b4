/* The version of schema posthorn that this program knows: that of the newest
 * sql/postgres/NNNN_*.sql. */
#ifndef PH_DB_PG_SCHEMA_H
#define PH_DB_PG_SCHEMA_H

#define PH_PG_SCHEMA_VERSION 7

#endif
