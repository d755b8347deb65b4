-- What pipeline ?1 has settled, behind which position and up to which, and about how many rows the log has.
SELECT c.start_position, c.position,
       coalesce((SELECT max(position) FROM posthorn_outbox) - (SELECT min(position) FROM posthorn_outbox) + 1, 0)
  FROM posthorn_checkpoint c
 WHERE c.pipeline = ?1 AND c.shard = 0
