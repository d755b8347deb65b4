-- Puts the longest wish of all pipelines in force.
UPDATE posthorn_meta SET retention_ms = (SELECT max(retention_ms) FROM posthorn_lease)
 WHERE retention_ms <> (SELECT max(retention_ms) FROM posthorn_lease)
