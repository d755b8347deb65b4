-- Rows beside the log: $1 pipeline, $2 event type, $3 key, $4 failed since (us), $5 pattern of the error, $6 id, $7 state (NULL: any),
-- $8 how many (NULL: all), $9 whether with headers and payload. waiting: how many events wait in its queue behind a head.
WITH queue AS (
    SELECT p.pipeline, p.shard, p.position,
           pg_catalog.row_number() OVER (PARTITION BY p.pipeline, p.shard, p.key
                ORDER BY p.queue_tick, p.queue_position, p.deliver_after NULLS FIRST, p.position) AS place,
           pg_catalog.count(*) OVER (PARTITION BY p.pipeline, p.shard, p.key) AS events
      FROM posthorn.parked p
     WHERE ($1::text IS NULL OR p.pipeline = $1::text) AND p.key IS NOT NULL
       AND (p.state = 'parked' OR p.state = 'dead' AND NOT p.passed))
SELECT m.pipeline, m.shard, m.state, m.attempts, m.passed,
       CASE WHEN q.place = 1 THEN q.events - 1 END AS waiting, m.event_id, m.tick, m.position, m.aggregate_type, m.aggregate_id,
       m.event_type, pg_catalog.to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, m.key,
       pg_catalog.to_char(m.next_attempt_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS next_attempt_at,
       pg_catalog.to_char(m.first_failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS first_failed_at,
       pg_catalog.to_char(m.redriven_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS redriven_at,
       pg_catalog.to_char(m.deliver_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS deliver_after, m.last_error,
       CASE WHEN $9::boolean THEN m.headers END AS headers, CASE WHEN $9::boolean THEN m.payload END AS payload,
       CASE WHEN $9::boolean THEN m.payload_bytes END AS payload_bytes, m.content_type
  FROM posthorn.parked_matching($1, $2, $3, pg_catalog.to_timestamp($4::numeric / 1000000), $5, $6::uuid) m
  LEFT JOIN queue q ON q.pipeline = m.pipeline AND q.shard = m.shard AND q.position = m.position
 WHERE $7::text IS NULL OR m.state = $7::text
 ORDER BY m.pipeline, m.tick, m.position
 LIMIT $8::bigint
