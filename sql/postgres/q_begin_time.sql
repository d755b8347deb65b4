-- The last tick made before a time, for start = TIMESTAMP.
SELECT tick, snapshot::text FROM posthorn.tick WHERE made_at < pg_catalog.to_timestamp($1::numeric / 1000000)
 ORDER BY made_at DESC, tick DESC LIMIT 1
