-- After a migration behind the first: $1 is the version reached.
UPDATE posthorn.meta SET schema_version = $1::int
