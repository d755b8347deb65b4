-- How many rows of ?1, ?2 are parked, dead, scheduled, and how often people have changed them.
SELECT (SELECT count(*) FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND state = 'parked'),
       (SELECT count(*) FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND state = 'dead'),
       (SELECT count(*) FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND state = 'scheduled'),
       coalesce((SELECT acts FROM posthorn_pipeline WHERE pipeline = ?1), 0)
