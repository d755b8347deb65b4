UPDATE posthorn_lease
   SET epoch = max(epoch, (SELECT max(c.epoch) FROM posthorn_checkpoint c WHERE c.pipeline = posthorn_lease.pipeline))
 WHERE (?1 IS NULL OR pipeline = ?1) AND pipeline IN (SELECT pipeline FROM posthorn_checkpoint)
