-- What the log knows of the event at position ?1: its id, and whether that place may have been cleared.
SELECT o.event_id,
       n.position <= coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'posthorn_outbox'), 0)
       AND n.position < coalesce((SELECT min(position) FROM posthorn_outbox), 9223372036854775807)
  FROM (SELECT ?1 AS position) n
  LEFT JOIN posthorn_outbox o ON o.position = n.position
