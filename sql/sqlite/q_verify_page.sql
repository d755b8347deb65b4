-- The next 20,000 rows behind position ?1 that pipeline ?2 has settled, with its checkpoint at ?3.
SELECT o.position, o.event_id,
       EXISTS (SELECT 1 FROM posthorn_parked k
                WHERE k.pipeline = ?2 AND k.shard = 0 AND k.position = o.position),
       o.aggregate_type, o.aggregate_id, o.event_type, nullif(o.headers, '{}')
  FROM posthorn_outbox o
 WHERE o.position > ?1 AND o.position <= ?3
 ORDER BY o.position LIMIT 20000
