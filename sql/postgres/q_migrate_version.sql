-- The version of the installed schema.
SELECT schema_version FROM posthorn.meta
