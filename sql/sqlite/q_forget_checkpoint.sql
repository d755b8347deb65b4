DELETE FROM posthorn_checkpoint WHERE pipeline = ?1
