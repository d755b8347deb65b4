-- Of pipeline ?1: whether an instance owns it (boot ?2, time since boot ?3), events beside the log, all rows, the greatest epoch.
SELECT (SELECT owner FROM posthorn_lease
         WHERE pipeline = ?1 AND boot_id = ?2 AND expires_boot_us > ?3 AND expires_boot_us <= ?3 + 3600000000 LIMIT 1),
       (SELECT count(*) FROM posthorn_parked WHERE pipeline = ?1 AND state IN ('parked', 'dead', 'scheduled')),
       (SELECT count(*) FROM posthorn_parked WHERE pipeline = ?1)
       + (SELECT count(*) FROM posthorn_lease WHERE pipeline = ?1)
       + (SELECT count(*) FROM posthorn_checkpoint WHERE pipeline = ?1)
       + (SELECT count(*) FROM posthorn_pipeline WHERE pipeline = ?1),
       coalesce((SELECT max(epoch) FROM (SELECT epoch FROM posthorn_lease WHERE pipeline = ?1
                                          UNION ALL SELECT epoch FROM posthorn_checkpoint WHERE pipeline = ?1)), 0)
