-- What adopting would do to each checkpoint of pipeline ?1 (NULL: of all) that goes on behind position ?2 (NULL: where it is), and who
-- owns it (boot ?3, time since boot ?4). An event that has a row beside the log is not sent from the log.
SELECT c.pipeline, c.shard, c.tick, c.position, coalesce(?2, c.position) AS goal,
       (SELECT count(*) FROM posthorn_outbox o WHERE o.position > ?2 AND o.position <= c.position
           AND NOT EXISTS (SELECT 1 FROM posthorn_parked p
                            WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.position = o.position)),
       (SELECT count(*) FROM posthorn_outbox o WHERE o.position > max(coalesce(?2, 0), c.position)
           AND NOT EXISTS (SELECT 1 FROM posthorn_parked p
                            WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.position = o.position)),
       (SELECT count(*) FROM posthorn_outbox o WHERE o.position > c.position AND o.position <= ?2
           AND NOT EXISTS (SELECT 1 FROM posthorn_parked p
                            WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.position = o.position)),
       (SELECT count(*) FROM posthorn_parked p
         WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.state IN ('parked', 'dead', 'scheduled')),
       (SELECT l.owner FROM posthorn_lease l
         WHERE l.pipeline = c.pipeline AND l.boot_id = ?3 AND l.expires_boot_us > ?4 AND l.expires_boot_us <= ?4 + 3600000000 LIMIT 1),
       c.sink_tick IS NOT NULL
  FROM posthorn_checkpoint c
 WHERE ?1 IS NULL OR c.pipeline = ?1
 ORDER BY c.pipeline, c.shard
