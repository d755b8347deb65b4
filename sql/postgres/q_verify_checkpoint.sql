-- How far the shards of pipeline $1 are, as arrays in their order, and about how large the log is.
SELECT pg_catalog.array_agg(c.position ORDER BY c.shard), pg_catalog.array_agg(c.snapshot ORDER BY c.shard),
       pg_catalog.array_agg(c.base_snapshot ORDER BY c.shard), pg_catalog.array_agg(c.start_snapshot ORDER BY c.shard),
       coalesce((SELECT s.rows_estimate FROM posthorn.outbox_status s), 0)
  FROM posthorn.checkpoint c
 WHERE c.pipeline = $1
HAVING pg_catalog.count(*) > 0
