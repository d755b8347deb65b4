-- The next 20,000 retained rows behind position $1: of them what pipeline $2 has settled, whose shards have the checkpoints
-- ($3 snapshots, $4 base_snapshots, $5 start_snapshots, $6 positions, arrays in the order of the shards), and the last row in any
-- case, so that the caller knows where to go on. Bounded before it is filtered: a page takes the same time however few of its rows
-- count. What left the flow (parked, dead, scheduled, discarded) is no fault of the sink's.
WITH page AS MATERIALIZED (
    SELECT o.position, o.xid, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.headers,
           CASE pg_catalog.cardinality($3::text[]) WHEN 1 THEN 1
                ELSE (pg_catalog.hashtext(o.aggregate_id) & 4095) % pg_catalog.cardinality($3::text[]) + 1 END AS n
      FROM posthorn.outbox o
     WHERE o.position > $1::bigint
     ORDER BY o.position LIMIT 20000),
place AS MATERIALIZED (
    SELECT n, ($3::text[])[n]::pg_snapshot AS snapshot, ($4::text[])[n]::pg_snapshot AS base,
           ($5::text[])[n]::pg_snapshot AS start, ($6::bigint[])[n] AS position
      FROM pg_catalog.generate_series(1, pg_catalog.cardinality($3::text[])) n),
judged AS (
    SELECT p.*, pg_catalog.pg_visible_in_snapshot(p.xid, l.snapshot)
                AND (p.position <= l.position OR pg_catalog.pg_visible_in_snapshot(p.xid, l.base))
                AND NOT pg_catalog.pg_visible_in_snapshot(p.xid, l.start) AS settled
      FROM page p JOIN place l ON l.n = p.n)
SELECT j.position, j.event_id, j.settled,
       j.position IN (SELECT k.position FROM posthorn.parked k WHERE k.pipeline = $2) AS skipped,
       j.aggregate_type, j.aggregate_id, j.event_type, nullif(j.headers, '{}')::text AS headers
  FROM judged j
 WHERE j.settled OR j.position = (SELECT pg_catalog.max(m.position) FROM page m)
 ORDER BY j.position
