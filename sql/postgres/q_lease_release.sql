-- Lets the next owner in at once ($7: -infinity says that it went in order, see reshard()); an instance that goes is no member any more (one that stays joins again with its next renewal).
-- Members before leases, as in a claim: the count makes the DELETE come first.
WITH gone AS (
    DELETE FROM posthorn.member WHERE pipeline = $1 AND instance = $6::text RETURNING 1)
UPDATE posthorn.lease SET expires_at = CASE WHEN $7::boolean THEN '-infinity' ELSE pg_catalog.clock_timestamp() END,
       last_error = coalesce($5, last_error),
       last_error_at = CASE WHEN $5 IS NULL THEN last_error_at ELSE pg_catalog.clock_timestamp() END
 WHERE pipeline = $1 AND shard = $2::int AND owner = $3 AND epoch = $4::bigint AND (SELECT pg_catalog.count(*) FROM gone) >= 0
