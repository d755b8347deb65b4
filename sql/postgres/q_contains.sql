-- Does a checkpoint that a sink holds belong to this log? Everything it sees must be over here, on the same timeline, and where its
-- tick is still stored, the stored text is the same.
SELECT NOT EXISTS (SELECT FROM posthorn.tick WHERE tick = $1::bigint AND snapshot::text <> $2),
       $3::int = posthorn.timeline(),
       pg_catalog.pg_current_snapshot()::text
