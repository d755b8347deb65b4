SELECT tick, position, snapshot, base_snapshot, start_snapshot, timeline, epoch, sink_tick, sink_position
  FROM posthorn.checkpoint
 WHERE pipeline = $1 AND shard = $2::int
