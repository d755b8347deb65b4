-- See posthorn.park(): false = a newer epoch owns the checkpoint.
SELECT posthorn.park($1, $2::int, $3::bigint, $4::jsonb)
