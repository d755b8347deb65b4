-- The event at ?4 leaves the flow of ?1, ?2, now = ?3 in ms: key ?5, state ?6, attempts ?7, next attempt in ?8 ms (NULL: when those
-- in front are gone), passed ?9, error ?10. A row that is there stays as it is.
INSERT INTO posthorn_parked (pipeline, shard, position, key, state, queue_tick, queue_position, attempts, next_attempt_at, passed,
                             gap_due, first_failed_at, last_error, event_id, created_at, deliver_after, aggregate_type,
                             aggregate_id, event_type, content_type, headers, payload, payload_bytes)
SELECT ?1, ?2, position, ?5, ?6, 1, position, ?7,
       CASE ?6 WHEN 'scheduled' THEN deliver_after
               WHEN 'parked' THEN ?3 + CASE WHEN ?5 IS NULL THEN coalesce(?8, 0) ELSE ?8 END END,
       ?9, ?9, ?3, ?10, event_id, created_at, deliver_after, aggregate_type, aggregate_id, event_type, content_type,
       headers, payload, payload_bytes
  FROM posthorn_outbox
 WHERE position = ?4
ON CONFLICT (pipeline, shard, position) DO NOTHING
RETURNING key
