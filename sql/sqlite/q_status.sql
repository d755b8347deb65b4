-- Each pipeline shard (of pipeline ?1, or of all where it is NULL) with its lag, counted to 100,001; more is an estimate.
-- ?2 = now in ms, ?3 = the time since boot in us, ?4 = the boot.
SELECT k.pipeline, CAST(k.shard AS TEXT), CAST(c.tick AS TEXT), CAST(c.position AS TEXT),
       CAST(CASE WHEN k.lag > 100000 THEN k.newest - c.position ELSE k.lag END AS TEXT), k.lag > 100000,
       printf('%.3f', max(0, coalesce(?2 - k.oldest, 0)) / 1000.0),
       l.owner, CAST(l.epoch AS TEXT),
       coalesce(l.boot_id = ?4 AND l.expires_boot_us > ?3 AND l.expires_boot_us <= ?3 + 3600000000, 0),
       strftime('%Y-%m-%dT%H:%M:%f', l.expires_at / 1000.0, 'unixepoch') || '000Z', l.last_error,
       strftime('%Y-%m-%dT%H:%M:%f', l.last_error_at / 1000.0, 'unixepoch') || '000Z', strftime('%Y-%m-%dT%H:%M:%f', c.updated_at / 1000.0, 'unixepoch') || '000Z',
       CASE WHEN k.lag > 0 THEN printf('%.3f', max(0, ?2 - max(c.updated_at, k.oldest)) / 1000.0) END,
       CAST((SELECT count(*) FROM posthorn_parked r WHERE r.pipeline = k.pipeline AND r.shard = k.shard AND r.state = 'parked') AS TEXT),
       CAST((SELECT count(*) FROM posthorn_parked r WHERE r.pipeline = k.pipeline AND r.shard = k.shard AND r.state = 'dead') AS TEXT),
       CAST((SELECT count(*) FROM posthorn_parked r WHERE r.pipeline = k.pipeline AND r.shard = k.shard AND r.state = 'scheduled') AS TEXT),
       strftime('%Y-%m-%dT%H:%M:%f', i.paused_at / 1000.0, 'unixepoch') || '000Z', i.paused_by, i.paused_reason
  FROM (SELECT p.pipeline, p.shard,
               (SELECT count(*) FROM (SELECT 1 FROM posthorn_outbox o WHERE o.position > p.position LIMIT 100001)) AS lag,
               (SELECT o.created_at FROM posthorn_outbox o WHERE o.position > p.position ORDER BY o.position LIMIT 1) AS oldest,
               (SELECT max(o.position) FROM posthorn_outbox o) AS newest
          FROM (SELECT pipeline, shard, position FROM posthorn_checkpoint
                 UNION ALL
                SELECT e.pipeline, e.shard, NULL FROM posthorn_lease e
                 WHERE NOT EXISTS (SELECT 1 FROM posthorn_checkpoint x WHERE x.pipeline = e.pipeline AND x.shard = e.shard)) p
         WHERE ?1 IS NULL OR p.pipeline = ?1) k
  LEFT JOIN posthorn_checkpoint c ON c.pipeline = k.pipeline AND c.shard = k.shard
  LEFT JOIN posthorn_pipeline i ON i.pipeline = k.pipeline
  LEFT JOIN posthorn_lease l ON l.pipeline = k.pipeline AND l.shard = k.shard
 ORDER BY 1, k.shard
