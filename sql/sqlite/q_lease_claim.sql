-- Takes the lease when it is free, run out by the time since boot (?5, in us, on boot ?4), or ours already; the epoch grows each
-- time. No row = another's. A lease that lasts longer than any may (?7) is of a boot that was not told apart. ?8 = now in ms.
INSERT INTO posthorn_lease (pipeline, shard, owner, epoch, boot_id, expires_boot_us, expires_at, retention_ms)
VALUES (?1, ?2, ?3, (SELECT epoch_floor + 1 FROM posthorn_meta), ?4, ?5 + ?6 * 1000, ?8 + ?6, ?9)
ON CONFLICT (pipeline, shard) DO UPDATE
   SET owner = excluded.owner, epoch = posthorn_lease.epoch + 1, boot_id = excluded.boot_id,
       expires_boot_us = excluded.expires_boot_us, expires_at = excluded.expires_at, retention_ms = excluded.retention_ms
 WHERE posthorn_lease.owner = excluded.owner OR posthorn_lease.boot_id <> excluded.boot_id
    OR posthorn_lease.expires_boot_us <= ?5 OR posthorn_lease.expires_boot_us > ?5 + ?7
RETURNING epoch
