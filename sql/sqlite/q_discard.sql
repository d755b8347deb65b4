-- Dead rows are given up, and a parked head whose id is given: ?1 pipeline, ?2 event type, ?3 key, ?4 failed since (ms), ?5 pattern of
-- the error, ?6 id (NULL: any).
UPDATE posthorn_parked
   SET state = 'discarded', next_attempt_at = NULL
 WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR key = ?3)
   AND first_failed_at >= ?4 AND (?5 IS NULL OR last_error LIKE ?5 ESCAPE '\') AND (?6 IS NULL OR lower(event_id) = lower(?6))
   AND (state = 'dead' OR (?6 IS NOT NULL AND state = 'parked' AND next_attempt_at IS NOT NULL))
