-- Rows of ?1, ?2 that are due at ?3 (ms) and that the stored checkpoint has passed, by the time they came due. The first columns
-- are those of q_read.sql.
SELECT p.position, p.event_id, p.created_at, p.aggregate_type, p.aggregate_id, p.event_type, p.content_type, p.headers,
       p.payload, p.payload_bytes, p.deliver_after, p.state, p.key, p.attempts, p.passed
  FROM posthorn_parked p
  JOIN posthorn_checkpoint c ON c.pipeline = ?1 AND c.shard = ?2 AND (p.tick, p.position) <= (c.tick, c.position)
 WHERE p.pipeline = ?1 AND p.shard = ?2 AND p.next_attempt_at <= ?3 AND p.state IN ('parked', 'scheduled')
 ORDER BY p.next_attempt_at, p.position
