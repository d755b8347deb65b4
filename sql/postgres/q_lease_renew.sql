-- See posthorn.renew_lease(): no row = another's now.
SELECT paused, excess
  FROM posthorn.renew_lease($1, $2::int, $3::int, $4, $5, $6::bigint, $7::bigint, $8)
