-- Where a reader of the events made at ?1 or later begins: in front of the first of them.
SELECT position - 1 FROM posthorn_outbox WHERE created_at >= ?1 ORDER BY position LIMIT 1
