-- One row when this database has a schema posthorn: may its version be asked for? A writer may not.
SELECT coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(k.oid, 'SELECT'), false)
  FROM pg_catalog.pg_namespace n
  LEFT JOIN pg_catalog.pg_class k ON k.relnamespace = n.oid AND k.relname = 'meta'
 WHERE n.nspname = 'posthorn'
