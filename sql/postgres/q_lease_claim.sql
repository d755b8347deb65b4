-- Takes the lease when it is free, run out by this server's clock, or ours already; the epoch grows each time, also behind those of a
-- pipeline of this name that was forgotten. Leaves the pipeline's wish for the retention. No row = another's.
INSERT INTO posthorn.lease AS l (pipeline, shard, owner, epoch, expires_at, retention)
VALUES ($1, $2::int, $3,
        1 + coalesce((SELECT pg_catalog.max((a.detail->>'epoch')::bigint) FROM posthorn.audit a
                       WHERE a.act = 'forget' AND a.detail->>'pipeline' = $1), 0),
        pg_catalog.clock_timestamp() + $4::bigint * interval '1 millisecond', $5::bigint * interval '1 millisecond')
ON CONFLICT (pipeline, shard) DO UPDATE
   SET owner = excluded.owner, epoch = l.epoch + 1, expires_at = excluded.expires_at, retention = excluded.retention
 WHERE l.expires_at < pg_catalog.clock_timestamp() OR l.owner = excluded.owner
RETURNING epoch
