-- Version 3: the copy of a checkpoint that a sink keeps too (delivery: exactly-once).

-- How far the sink was for certain when this was stored. At the start the sink's own answer counts.
-- NULL: the sink holds none that counts.
ALTER TABLE posthorn_checkpoint ADD COLUMN sink_tick INTEGER;
ALTER TABLE posthorn_checkpoint ADD COLUMN sink_position INTEGER;
