UPDATE posthorn_parked SET gap_due = 0 WHERE pipeline = ?1 AND shard = ?2 AND position = ?4 AND gap_due = 1
