UPDATE posthorn_lease
   SET boot_id = ?5, expires_boot_us = ?6 + ?7 * 1000, expires_at = ?8 + ?7,
       last_error = coalesce(?9, last_error),
       last_error_at = CASE WHEN ?9 IS NULL THEN last_error_at ELSE ?8 END
 WHERE pipeline = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4
