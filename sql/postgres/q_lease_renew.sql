UPDATE posthorn.lease
   SET expires_at = pg_catalog.clock_timestamp() + $5::bigint * interval '1 millisecond',
       last_error = coalesce($6, last_error),
       last_error_at = CASE WHEN $6 IS NULL THEN last_error_at ELSE pg_catalog.clock_timestamp() END
 WHERE pipeline = $1 AND shard = $2::int AND owner = $3 AND epoch = $4::bigint
RETURNING 1
