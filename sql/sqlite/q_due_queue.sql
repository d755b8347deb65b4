-- The queue of key ?3 of ?1, ?2 from its head on; the last column says whether the checkpoint has passed the row. The reader stops at
-- the first that is not to come. The first columns are those of q_due.sql.
SELECT p.position, p.event_id, p.created_at, p.aggregate_type, p.aggregate_id, p.event_type, p.content_type, p.headers,
       p.payload, p.payload_bytes, p.deliver_after, p.state, p.key, p.attempts, p.passed,
       (p.tick, p.position) <= (c.tick, c.position)
  FROM posthorn_parked p
  JOIN posthorn_checkpoint c ON c.pipeline = ?1 AND c.shard = ?2
 WHERE p.pipeline = ?1 AND p.shard = ?2 AND p.key = ?3 AND (p.state = 'parked' OR (p.state = 'dead' AND p.passed = 0))
 ORDER BY p.queue_tick, p.queue_position, p.deliver_after, p.position
