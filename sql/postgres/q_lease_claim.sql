-- Takes the lease when it is free, run out by this server's clock, or ours already; the epoch grows each time. No row = another's.
INSERT INTO posthorn.lease AS l (pipeline, shard, owner, epoch, expires_at)
VALUES ($1, $2::int, $3, 1, pg_catalog.clock_timestamp() + $4::bigint * interval '1 millisecond')
ON CONFLICT (pipeline, shard) DO UPDATE
   SET owner = excluded.owner, epoch = l.epoch + 1, expires_at = excluded.expires_at
 WHERE l.expires_at < pg_catalog.clock_timestamp() OR l.owner = excluded.owner
RETURNING epoch
