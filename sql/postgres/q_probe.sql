-- The cheap look: has any transaction ended since the last one (the snapshot changed), has anyone made a tick (the sequence moved)?
SELECT pg_catalog.pg_current_snapshot()::text, (SELECT last_value FROM posthorn.tick_tick_seq)
