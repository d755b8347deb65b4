-- The reader that is furthest behind.
SELECT pipeline, shard, position FROM posthorn_checkpoint ORDER BY position, pipeline LIMIT 1
