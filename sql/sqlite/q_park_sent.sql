DELETE FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND position = ?4 RETURNING key
