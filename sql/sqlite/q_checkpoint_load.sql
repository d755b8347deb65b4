SELECT tick, position, start_position, epoch, sink_tick, sink_position
  FROM posthorn_checkpoint WHERE pipeline = ?1 AND shard = ?2
