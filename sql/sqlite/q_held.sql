-- Keys of ?1, ?2 that have rows in their queue, or a gap that nobody was told of: the newest such.
SELECT k.key, k.events, g.event_id, g.tick, g.position
  FROM (SELECT key, sum(events) AS events
          FROM (SELECT key, count(*) AS events FROM posthorn_parked
                 WHERE pipeline = ?1 AND shard = ?2 AND key IS NOT NULL
                   AND (state = 'parked' OR (state = 'dead' AND passed = 0))
                 GROUP BY key
                 UNION ALL
                SELECT key, 0 FROM posthorn_parked WHERE pipeline = ?1 AND shard = ?2 AND gap_due = 1 AND key IS NOT NULL)
         GROUP BY key) k
  LEFT JOIN posthorn_parked g
    ON g.rowid = (SELECT n.rowid FROM posthorn_parked n
                   WHERE n.pipeline = ?1 AND n.shard = ?2 AND n.key = k.key AND n.gap_due = 1
                   ORDER BY n.tick DESC, n.position DESC LIMIT 1)
