-- The scheduled row at ?4 goes to the end of its key's queue, now = ?3. Without a key it stands behind nobody.
UPDATE posthorn_parked
   SET state = 'parked', next_attempt_at = CASE WHEN key IS NULL THEN ?3 END,
       queue_tick = coalesce((SELECT l.queue_tick FROM posthorn_parked l
                               WHERE l.pipeline = ?1 AND l.shard = ?2 AND l.key = posthorn_parked.key
                                 AND (l.state = 'parked' OR (l.state = 'dead' AND l.passed = 0))
                               ORDER BY l.queue_tick DESC, l.queue_position DESC LIMIT 1), queue_tick),
       queue_position = coalesce((SELECT l.queue_position FROM posthorn_parked l
                                   WHERE l.pipeline = ?1 AND l.shard = ?2 AND l.key = posthorn_parked.key
                                     AND (l.state = 'parked' OR (l.state = 'dead' AND l.passed = 0))
                                   ORDER BY l.queue_tick DESC, l.queue_position DESC LIMIT 1), queue_position)
 WHERE pipeline = ?1 AND shard = ?2 AND position = ?4 AND state = 'scheduled'
RETURNING key
