-- The next 20,000 retained rows behind position $1: of them what pipeline $2 with the checkpoint ($3 snapshot, $4 base_snapshot,
-- $5 start_snapshot, $6 position) has settled, and the last row in any case, so that the caller knows where to go on. Bounded
-- before it is filtered: a page takes the same time however few of its rows count.
WITH page AS MATERIALIZED (
    SELECT o.position, o.xid, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.headers
      FROM posthorn.outbox o
     WHERE o.position > $1::bigint
     ORDER BY o.position LIMIT 20000),
judged AS (
    SELECT p.*, pg_catalog.pg_visible_in_snapshot(p.xid, $3::pg_snapshot)
                AND (p.position <= $6::bigint OR pg_catalog.pg_visible_in_snapshot(p.xid, $4::pg_snapshot))
                AND NOT pg_catalog.pg_visible_in_snapshot(p.xid, $5::pg_snapshot) AS settled
      FROM page p)
SELECT j.position, j.event_id, j.settled,
       j.position IN (SELECT k.position FROM posthorn.parked k
                       WHERE k.pipeline = $2 AND k.shard = 0 AND k.state = 'skipped') AS skipped,
       j.aggregate_type, j.aggregate_id, j.event_type, nullif(j.headers, '{}')::text AS headers
  FROM judged j
 WHERE j.settled OR j.position = (SELECT pg_catalog.max(m.position) FROM page m)
 ORDER BY j.position
