SELECT tick, position, snapshot, base_snapshot, start_snapshot, timeline, epoch
  FROM posthorn.checkpoint
 WHERE pipeline = $1 AND shard = $2::int
