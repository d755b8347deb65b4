-- See posthorn.claim_lease(): no row = another's, or this instance has its share.
SELECT epoch, paused
  FROM posthorn.claim_lease($1, $2::int, $3::int, $4, $5, $6::bigint, $7::bigint)
