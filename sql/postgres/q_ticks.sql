-- The ticks behind $1, at most $2.
SELECT tick, snapshot::text FROM posthorn.tick WHERE tick > $1::bigint ORDER BY tick LIMIT $2::bigint
