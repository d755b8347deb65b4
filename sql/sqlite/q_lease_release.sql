-- Lets the next owner in at once.
UPDATE posthorn_lease SET expires_boot_us = 0, expires_at = NULL
 WHERE pipeline = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4
