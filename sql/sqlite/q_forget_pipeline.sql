DELETE FROM posthorn_pipeline WHERE pipeline = ?1
