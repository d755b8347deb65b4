-- What posthorn cleanup takes where it is told nothing else.
UPDATE posthorn_meta SET retention_ms = ?1 WHERE retention_ms <> ?1
