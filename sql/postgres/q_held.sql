-- The keys with rows in their queue, or with a gap that nobody was told of: the newest of those.
SELECT key, pg_catalog.count(*) FILTER (WHERE state = 'parked' OR NOT passed),
       (pg_catalog.array_agg(event_id ORDER BY tick DESC, position DESC) FILTER (WHERE gap_due))[1],
       (pg_catalog.array_agg(tick ORDER BY tick DESC, position DESC) FILTER (WHERE gap_due))[1],
       (pg_catalog.array_agg(position ORDER BY tick DESC, position DESC) FILTER (WHERE gap_due))[1]
  FROM posthorn.parked
 WHERE pipeline = $1 AND shard = $2::int AND key IS NOT NULL AND state IN ('parked', 'dead')
 GROUP BY key
HAVING pg_catalog.bool_or(state = 'parked' OR NOT passed OR gap_due)
