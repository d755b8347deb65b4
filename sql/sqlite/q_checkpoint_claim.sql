-- Makes the checkpoint row ours: from here on no write of an older epoch succeeds.
UPDATE posthorn_checkpoint SET epoch = ?3 WHERE pipeline = ?1 AND shard = ?2 AND epoch <= ?3
