-- After a change of the row at ?4: the first row in the queue of key ?5 has a time for its next attempt if it is parked (now = ?3,
-- unless it has one), the second one and the row itself have none if they are not the first.
WITH front AS MATERIALIZED (
    SELECT rowid AS id FROM posthorn_parked
     WHERE pipeline = ?1 AND shard = ?2 AND key = ?5 AND (state = 'parked' OR (state = 'dead' AND passed = 0))
     ORDER BY queue_tick, queue_position, deliver_after, position LIMIT 2)
UPDATE posthorn_parked
   SET next_attempt_at = CASE WHEN rowid = (SELECT id FROM front LIMIT 1) THEN ?3 END
 WHERE rowid IN (SELECT id FROM front
                  UNION ALL
                 SELECT rowid FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND position = ?4)
   AND state = 'parked' AND (rowid = (SELECT id FROM front LIMIT 1)) <> (next_attempt_at IS NOT NULL)
