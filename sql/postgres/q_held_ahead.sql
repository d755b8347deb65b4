-- Rows that the stored checkpoint has not passed: the log brings their events again, whatever became of the rows meanwhile.
SELECT p.tick, p.position
  FROM posthorn.checkpoint c
  JOIN posthorn.parked p ON p.pipeline = c.pipeline AND p.shard = c.shard AND (p.tick, p.position) > (c.tick, c.position)
 WHERE c.pipeline = $1 AND c.shard = $2::int
