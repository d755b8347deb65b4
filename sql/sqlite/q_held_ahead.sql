-- Rows of ?1, ?2 that the stored checkpoint has not passed: the log brings their events again, whatever became of them meanwhile.
SELECT p.tick, p.position
  FROM posthorn_parked p
 WHERE p.pipeline = ?1 AND p.shard = ?2
   AND p.position > coalesce((SELECT c.position FROM posthorn_checkpoint c WHERE c.pipeline = ?1 AND c.shard = ?2), 0)
