-- Whether the log belongs to the roles of roles.sql, so that what a migration adds must be handed over to them, too.
SELECT 1 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
 WHERE n.nspname = 'posthorn' AND r.rolname = 'posthorn_owner'
