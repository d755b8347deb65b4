-- The row at ?4 failed, now = ?3: state ?6, attempts ?7, next attempt in ?8 ms or NULL, passed ?9, error ?10. What a person has
-- given up meanwhile stays so. A scheduled row is in its key's queue now, at its own place.
UPDATE posthorn_parked
   SET state = ?6, attempts = ?7, passed = ?9, gap_due = ?9 AND ?6 = 'dead', last_error = ?10,
       next_attempt_at = CASE ?6 WHEN 'parked' THEN ?3 + CASE WHEN key IS NULL THEN coalesce(?8, 0) ELSE ?8 END END
 WHERE pipeline = ?1 AND shard = ?2 AND position = ?4 AND state IN ('parked', 'scheduled')
RETURNING key
