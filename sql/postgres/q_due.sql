-- What is due: heads and scheduled rows by their time, each head with the parked rows behind it in its queue. One row at least,
-- with acts and the time until the next row comes due. Only rows that the stored checkpoint has passed: the log will not bring
-- them again. The bytes are those on disk, a bound in kind.
WITH place AS (
    SELECT c.tick, c.position FROM posthorn.checkpoint c WHERE c.pipeline = $1 AND c.shard = $2::int),
head AS (
    SELECT r.* FROM posthorn.parked r
     WHERE r.pipeline = $1 AND r.shard = $2::int AND r.next_attempt_at <= pg_catalog.clock_timestamp()
       AND (r.tick, r.position) <= (SELECT p.tick, p.position FROM place p)
     ORDER BY r.next_attempt_at, r.position LIMIT $3::bigint),
due AS (
    SELECT h.next_attempt_at AS due_at, h.position AS head, r.*
      FROM head h
     CROSS JOIN LATERAL (
          SELECT h.*
          UNION ALL
          (SELECT f.* FROM posthorn.parked f
            WHERE h.state = 'parked' AND f.pipeline = $1 AND f.shard = $2::int
              AND pg_catalog.hashtextextended(f.key, 0) = pg_catalog.hashtextextended(h.key, 0) AND f.key = h.key
              AND f.state IN ('parked', 'dead') AND NOT (f.state = 'dead' AND f.passed)
              AND (f.queue_tick, f.queue_position, coalesce(f.deliver_after, '-infinity'), f.position)
                  > (h.queue_tick, h.queue_position, coalesce(h.deliver_after, '-infinity'), h.position)
              AND (f.tick, f.position) <= (SELECT p.tick, p.position FROM place p)
            ORDER BY f.queue_tick, f.queue_position, f.deliver_after NULLS FIRST, f.position LIMIT $3::bigint)) r
     ORDER BY 1, 2, r.queue_tick, r.queue_position, r.deliver_after NULLS FIRST, r.position LIMIT $3::bigint),
counted AS (
    SELECT d.*, pg_catalog.row_number() OVER whole AS number,
           pg_catalog.sum(pg_catalog.pg_column_size(d.headers) + coalesce(pg_catalog.pg_column_size(d.payload), 0)
                          + coalesce(pg_catalog.pg_column_size(d.payload_bytes), 0)) OVER whole AS bytes
      FROM due d
    WINDOW whole AS (ORDER BY d.due_at, d.head, d.queue_tick, d.queue_position, d.deliver_after NULLS FIRST, d.position
                     ROWS UNBOUNDED PRECEDING))
SELECT coalesce((SELECT l.acts FROM posthorn.pipeline l WHERE l.pipeline = $1), 0),
       (SELECT greatest(0, pg_catalog.ceil(1000 * pg_catalog.date_part('epoch', n.next_attempt_at - pg_catalog.clock_timestamp())))::bigint
          FROM posthorn.parked n
         WHERE n.pipeline = $1 AND n.shard = $2::int AND n.next_attempt_at IS NOT NULL
         ORDER BY n.next_attempt_at LIMIT 1),
       d.tick, d.position, d.state, d.attempts, d.passed, d.key, d.xid,
       (pg_catalog.date_part('epoch', d.created_at) * 1000000)::bigint, d.event_id, d.aggregate_type, d.aggregate_id,
       d.event_type, d.headers, d.payload, d.payload_bytes, d.content_type,
       (pg_catalog.date_part('epoch', d.deliver_after) * 1000000)::bigint, d.head
  FROM (VALUES (1)) one
  LEFT JOIN counted d ON d.number = 1 OR d.bytes <= $4::bigint
 ORDER BY d.number
