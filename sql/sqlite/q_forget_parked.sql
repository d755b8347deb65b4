DELETE FROM posthorn_parked WHERE pipeline = ?1
