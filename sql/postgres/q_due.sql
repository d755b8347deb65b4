-- What is due (see posthorn.due()), with acts, the ms until the next row comes due, at most a year, and the checkpoint's epoch:
-- one row at least, whose position is NULL when nothing is due.
SELECT coalesce((SELECT l.acts FROM posthorn.pipeline l WHERE l.pipeline = $1), 0),
       (SELECT CASE WHEN n.next_attempt_at <= pg_catalog.statement_timestamp() THEN 0
                    WHEN n.next_attempt_at > pg_catalog.statement_timestamp() + interval '365 days' THEN 31536000000
                    ELSE pg_catalog.ceil(1000 * pg_catalog.date_part('epoch', n.next_attempt_at - pg_catalog.statement_timestamp()))
               END::bigint
          FROM posthorn.parked n
         WHERE n.pipeline = $1 AND n.shard = $2::int AND n.next_attempt_at IS NOT NULL
         ORDER BY n.next_attempt_at LIMIT 1),
       d.tick, d.position, d.state, d.attempts, d.passed, d.key, d.xid, d.created_us, d.event_id, d.aggregate_type, d.aggregate_id,
       d.event_type, d.headers, d.payload, d.payload_bytes, d.content_type, d.deliver_after_us,
       coalesce((SELECT c.epoch FROM posthorn.checkpoint c WHERE c.pipeline = $1 AND c.shard = $2::int), 0)
  FROM (VALUES (1)) one
  LEFT JOIN posthorn.due($1, $2::int, $3::bigint, $4::bigint) d ON true
