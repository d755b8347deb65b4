-- Rows beside the log: ?1 pipeline, ?2 event type, ?3 key, ?4 failed since (ms), ?5 pattern of the error, ?6 id, ?7 state (NULL: any),
-- ?8 how many (-1: all), ?9 whether with headers and payload. waiting: how many events wait in its queue behind a head.
WITH queue AS (
    SELECT rowid AS id, row_number() OVER (PARTITION BY pipeline, shard, key
                                               ORDER BY queue_tick, queue_position, deliver_after, position) AS place,
           count(*) OVER (PARTITION BY pipeline, shard, key) AS events
      FROM posthorn_parked
     WHERE (?1 IS NULL OR pipeline = ?1) AND key IS NOT NULL AND (state = 'parked' OR (state = 'dead' AND passed = 0)))
SELECT pipeline, CAST(shard AS TEXT), state, CAST(attempts AS TEXT), passed,
       CAST(CASE WHEN q.place = 1 THEN q.events - 1 END AS TEXT), event_id, CAST(tick AS TEXT), CAST(position AS TEXT),
       aggregate_type, aggregate_id, event_type, strftime('%Y-%m-%dT%H:%M:%f', created_at / 1000.0, 'unixepoch') || '000Z', key,
       strftime('%Y-%m-%dT%H:%M:%f', next_attempt_at / 1000.0, 'unixepoch') || '000Z',
       strftime('%Y-%m-%dT%H:%M:%f', first_failed_at / 1000.0, 'unixepoch') || '000Z',
       strftime('%Y-%m-%dT%H:%M:%f', redriven_at / 1000.0, 'unixepoch') || '000Z',
       strftime('%Y-%m-%dT%H:%M:%f', deliver_after / 1000.0, 'unixepoch') || '000Z', last_error,
       CASE WHEN ?9 THEN headers END, CASE WHEN ?9 THEN payload END, CASE WHEN ?9 THEN payload_bytes END, content_type
  FROM posthorn_parked p
  LEFT JOIN queue q ON q.id = p.rowid
 WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR key = ?3)
   AND first_failed_at >= ?4 AND (?5 IS NULL OR last_error LIKE ?5 ESCAPE '\') AND (?6 IS NULL OR lower(event_id) = lower(?6))
   AND (?7 IS NULL OR state = ?7)
 ORDER BY pipeline, tick, position
 LIMIT ?8
