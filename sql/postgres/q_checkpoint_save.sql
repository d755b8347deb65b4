-- Stores a checkpoint unless a newer epoch owns it: then no row comes back.
INSERT INTO posthorn.checkpoint AS c (pipeline, shard, tick, position, snapshot, base_snapshot, start_snapshot, timeline, epoch,
                                      sink_tick, sink_position)
VALUES ($1, $2::int, $3::bigint, $4::bigint, $5, $6, $7, $8::int, $9::bigint, $10::bigint, $11::bigint)
ON CONFLICT (pipeline, shard) DO UPDATE
   SET tick = excluded.tick, position = excluded.position, snapshot = excluded.snapshot, base_snapshot = excluded.base_snapshot,
       start_snapshot = excluded.start_snapshot, timeline = excluded.timeline, epoch = excluded.epoch,
       sink_tick = excluded.sink_tick, sink_position = excluded.sink_position,
       updated_at = pg_catalog.clock_timestamp()
 WHERE c.epoch <= excluded.epoch
RETURNING 1
