-- Version 5: the copy of a checkpoint that a sink keeps too (delivery: exactly-once).

ALTER TABLE posthorn.checkpoint ADD COLUMN sink_tick bigint, ADD COLUMN sink_position bigint;
COMMENT ON COLUMN posthorn.checkpoint.sink_tick IS
    'With sink_position: how far the sink was for certain when this was stored. At the start the sink''s own answer '
    'counts. NULL: the sink holds none that counts. -1: a person decided (adopt), what the sink holds is overwritten. -2: of a shard that has not begun; the sink is '
    'asked as for a new pipeline';
