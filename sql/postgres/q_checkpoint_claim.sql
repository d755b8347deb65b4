-- Makes the checkpoint row ours: from here on no write of an older epoch succeeds.
UPDATE posthorn.checkpoint SET epoch = $3::bigint
 WHERE pipeline = $1 AND shard = $2::int AND epoch <= $3::bigint
