-- How far pipeline $1 is, and about how large the log is.
SELECT c.tick, c.position, c.snapshot, c.base_snapshot, c.start_snapshot,
       coalesce((SELECT s.rows_estimate FROM posthorn.outbox_status s), 0)
  FROM posthorn.checkpoint c
 WHERE c.pipeline = $1 AND c.shard = 0
