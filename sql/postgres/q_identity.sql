-- Which database is this, and is it the one that the log was made in?
SELECT system_identifier, database_oid, timeline, in_recovery, schema_version, future_rows, server_encoding,
       installed_system_identifier, installed_database_oid, pg_catalog.current_setting('server_version_num'),
       (SELECT (pg_catalog.date_part('epoch', m.installed_at) * 1000000)::bigint FROM posthorn.meta m)
  FROM posthorn.identity()
