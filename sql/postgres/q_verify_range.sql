-- Below which position everything may have been cleared, without looking row by row: the oldest retained position, or 0 when
-- nothing older can have existed. NULL when the log is empty and may have been cleared.
SELECT CASE WHEN coalesce(oldest.created_at, pg_catalog.clock_timestamp())
                 < m.installed_at + (m.ring_width_seconds || ' s')::interval THEN 0
            ELSE oldest.position END
  FROM posthorn.meta m
  LEFT JOIN LATERAL (SELECT o.position, o.created_at FROM posthorn.outbox o ORDER BY o.position LIMIT 1) oldest ON true
