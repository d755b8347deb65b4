DELETE FROM posthorn_lease WHERE pipeline = ?1
