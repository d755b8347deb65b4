-- One row when this database has a schema posthorn; needs no right on it.
SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'posthorn'
