-- What adopting would do to each checkpoint of pipeline ?1 (NULL: of all) that goes on behind position ?2 (NULL: where it is), and who
-- owns it (boot ?3, time since boot ?4).
SELECT c.pipeline, c.shard, c.tick, c.position, coalesce(?2, c.position) AS goal,
       (SELECT count(*) FROM posthorn_outbox WHERE position > ?2 AND position <= c.position),
       (SELECT count(*) FROM posthorn_outbox WHERE position > max(coalesce(?2, 0), c.position)),
       (SELECT count(*) FROM posthorn_outbox WHERE position > c.position AND position <= ?2),
       (SELECT count(*) FROM posthorn_parked p
         WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.state IN ('parked', 'dead', 'scheduled')),
       (SELECT l.owner FROM posthorn_lease l
         WHERE l.pipeline = c.pipeline AND l.boot_id = ?3 AND l.expires_boot_us > ?4 AND l.expires_boot_us <= ?4 + 3600000000 LIMIT 1)
  FROM posthorn_checkpoint c
 WHERE ?1 IS NULL OR c.pipeline = ?1
 ORDER BY c.pipeline, c.shard
