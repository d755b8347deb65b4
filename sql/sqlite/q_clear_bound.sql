-- Up to which position, of the ?4 lowest behind ?1, events may be cleared: no further than the reader that is furthest behind, and
-- no further than the first event that was made at ?2 or later. What claims to be made after ?3 (now) is as old as its neighbours.
SELECT coalesce(max(o.position), 0)
  FROM (SELECT position, created_at FROM posthorn_outbox
         WHERE position > ?1 AND position <= coalesce((SELECT min(position) FROM posthorn_checkpoint), 0)
         ORDER BY position LIMIT ?4) o
 WHERE o.position < coalesce((SELECT n.position
                                FROM (SELECT position, created_at FROM posthorn_outbox
                                       WHERE position > ?1 ORDER BY position LIMIT ?4) n
                               WHERE n.created_at >= ?2 AND n.created_at <= ?3
                               ORDER BY n.position LIMIT 1), 9223372036854775807)
