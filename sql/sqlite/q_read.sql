-- Events behind position ?1 up to ?2 in the order of their commits; as many as the reader steps.
SELECT position, event_id, created_at, aggregate_type, aggregate_id, event_type, content_type, headers,
       payload, payload_bytes, deliver_after
  FROM posthorn_outbox
 WHERE position > ?1 AND position <= ?2
 ORDER BY position
