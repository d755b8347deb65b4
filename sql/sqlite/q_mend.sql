-- Gives each queue's head (of pipeline ?1, NULL: all) its time, ?2, and takes it from the others; a head that has one keeps it.
UPDATE posthorn_parked
   SET next_attempt_at = CASE WHEN q.place = 1 THEN ?2 END
  FROM (SELECT rowid AS id, row_number() OVER (PARTITION BY pipeline, shard, key
                                                   ORDER BY queue_tick, queue_position, deliver_after, position) AS place
          FROM posthorn_parked
         WHERE (?1 IS NULL OR pipeline = ?1) AND key IS NOT NULL AND (state = 'parked' OR (state = 'dead' AND passed = 0))) q
 WHERE posthorn_parked.rowid = q.id AND state = 'parked' AND (next_attempt_at IS NULL) = (q.place = 1)
