-- Keeps the event that an operator skips, so that verify and a later redrive know it.
INSERT INTO posthorn.parked (pipeline, shard, tick, position, state, last_error, xid, created_at, event_id, aggregate_type,
                             aggregate_id, event_type, headers, payload, payload_bytes, content_type)
SELECT $1, $2::int, $3::bigint, position, 'skipped', 'skipped by start=after', xid, created_at, event_id, aggregate_type,
       aggregate_id, event_type, headers, payload, payload_bytes, content_type
  FROM posthorn.outbox
 WHERE position = $4::bigint
ON CONFLICT (pipeline, shard, position) DO UPDATE SET state = 'skipped'
