-- Keeps the event that an operator skips, so that verify and a later redrive know it. ?4 = now in ms.
INSERT INTO posthorn_parked (pipeline, shard, position, state, first_failed_at, last_error, event_id, created_at, deliver_after,
                             aggregate_type, aggregate_id, event_type, content_type, headers, payload, payload_bytes)
SELECT ?1, ?2, position, 'skipped', ?4, 'skipped by start=after', event_id, created_at, deliver_after,
       aggregate_type, aggregate_id, event_type, content_type, headers, payload, payload_bytes
  FROM posthorn_outbox
 WHERE position = ?3
ON CONFLICT (pipeline, shard, position) DO UPDATE SET state = 'skipped'
