-- The first checkpoints of all shards at one place, so that none begins elsewhere later; who came first has said where. Each has
-- still to ask its sink (-2).
INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, snapshot, base_snapshot, start_snapshot, timeline, epoch,
                                 sink_tick, sink_position)
SELECT $1, n, $3::bigint, 0, $4, $4, $4, $5::int, 0, -2, -2 FROM pg_catalog.generate_series(0, $2::int - 1) n
ON CONFLICT DO NOTHING
