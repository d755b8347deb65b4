-- Adopts the log: $1 pipeline or NULL, $2 how, $3 tick, $4 position, $5 since (us), $6 who, $7 why or NULL, $8 whether only to say
-- what would be done, $9 shard or NULL.
SELECT a.pipeline, a.shard, a.moved, a.rebased, pg_catalog.concat((a."from").tick, '-', (a."from").position),
       pg_catalog.concat((a."to").tick, '-', (a."to").position), a.again, a.first, a.skipped, a.beside, a.in_sink, a.refused
  FROM posthorn.adopt($1, $2, $6, $7, $3::bigint, $4::bigint, pg_catalog.to_timestamp($5::numeric / 1000000), $8::boolean, $9::int) a
