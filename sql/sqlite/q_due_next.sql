-- When the next row of ?1, ?2 comes due, in ms, NULL when none will by itself; how often people have changed rows; the
-- checkpoint's epoch.
SELECT (SELECT next_attempt_at FROM posthorn_parked
         WHERE pipeline = ?1 AND shard = ?2 AND next_attempt_at IS NOT NULL
         ORDER BY next_attempt_at LIMIT 1),
       coalesce((SELECT acts FROM posthorn_pipeline WHERE pipeline = ?1), 0),
       coalesce((SELECT epoch FROM posthorn_checkpoint WHERE pipeline = ?1 AND shard = ?2), 0)
