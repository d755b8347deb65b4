-- Stores a checkpoint unless a newer epoch owns it: then nothing is changed. ?7 = now in ms.
INSERT INTO posthorn_checkpoint (pipeline, shard, tick, position, start_position, epoch, updated_at, sink_tick, sink_position)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (pipeline, shard) DO UPDATE
   SET tick = excluded.tick, position = excluded.position, start_position = excluded.start_position,
       epoch = excluded.epoch, updated_at = excluded.updated_at, sink_tick = excluded.sink_tick,
       sink_position = excluded.sink_position
 WHERE posthorn_checkpoint.epoch <= excluded.epoch
