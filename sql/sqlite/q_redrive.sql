-- Dead rows come back: ?1 pipeline, ?2 event type, ?3 key, ?4 failed since (ms), ?5 pattern of the error, ?6 id (NULL: any); ?7 = now
-- in ms, ?8 us between one and the next. q_mend.sql takes the time from those that are no heads.
UPDATE posthorn_parked
   SET state = 'parked', attempts = 0, redriven_at = ?7, gap_due = 0, next_attempt_at = ?7 + c.place * ?8 / 1000
  FROM (SELECT rowid AS id, row_number() OVER (ORDER BY tick, position, pipeline) - 1 AS place
          FROM posthorn_parked
         WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR key = ?3)
   AND first_failed_at >= ?4 AND (?5 IS NULL OR last_error LIKE ?5 ESCAPE '\') AND (?6 IS NULL OR lower(event_id) = lower(?6))
           AND state = 'dead') c
 WHERE posthorn_parked.rowid = c.id
