SELECT epoch FROM posthorn_checkpoint WHERE pipeline = ?1 AND shard = ?2
