-- Each pipeline shard (of pipeline $1, or of all where it is NULL) with its lag, its rows beside the log, and
-- who paused it. Unsettled is what base_snapshot does not see,
-- less what is settled of the tick under way. Both branches are ranges of the (xid, position) index, and ORDER BY xid, position
-- keeps the planner on it even where it cannot know the value (an equality would let it walk the other index), so settled rows
-- cost nothing. Counted to 100,001; more is an estimate. Run with jit off.
SELECT coalesce(c.pipeline, l.pipeline) AS pipeline, coalesce(c.shard, l.shard) AS shard, c.tick, c.position,
       CASE WHEN lag.events > 100000
            THEN greatest(lag.events, (SELECT pg_catalog.max(o.position) FROM posthorn.outbox o) - lag.first + 1)
            ELSE lag.events END AS lag_events,
       lag.events > 100000 AS lag_estimated,
       greatest(0, coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - lag.oldest), 0))::numeric(20, 3)
           AS lag_seconds,
       l.owner, l.epoch, coalesce(l.expires_at > pg_catalog.clock_timestamp(), false) AS owned,
       pg_catalog.to_char(nullif(l.expires_at, '-infinity') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS expires_at,
       l.last_error,
       pg_catalog.to_char(l.last_error_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS last_error_at,
       pg_catalog.to_char(c.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at,
       CASE WHEN lag.events > 0 THEN greatest(0, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()
                                                 - greatest(c.updated_at, lag.oldest)))::numeric(20, 3) END AS still_seconds,
       beside.parked, beside.dead, beside.scheduled,
       pg_catalog.to_char(i.paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS paused_at, i.paused_by, i.paused_reason
  FROM posthorn.checkpoint c
  FULL JOIN posthorn.lease l ON l.pipeline = c.pipeline AND l.shard = c.shard
  LEFT JOIN posthorn.pipeline i ON i.pipeline = coalesce(c.pipeline, l.pipeline)
 CROSS JOIN LATERAL (
        SELECT pg_catalog.count(*) FILTER (WHERE p.state = 'parked') AS parked, pg_catalog.count(*) FILTER (WHERE p.state = 'dead') AS dead,
               pg_catalog.count(*) FILTER (WHERE p.state = 'scheduled') AS scheduled
          FROM posthorn.parked p
         WHERE p.pipeline = coalesce(c.pipeline, l.pipeline) AND p.shard = coalesce(c.shard, l.shard)) beside
  LEFT JOIN LATERAL (
        SELECT pg_catalog.count(*) AS events, pg_catalog.min(u.created_at) AS oldest, pg_catalog.min(u.position) AS first
          FROM ((SELECT o.created_at, o.position
                   FROM posthorn.outbox o
                  WHERE o.xid >= pg_catalog.pg_snapshot_xmax(c.base_snapshot::pg_snapshot)
                    AND NOT (o.position <= c.position
                             AND pg_catalog.pg_visible_in_snapshot(o.xid, c.snapshot::pg_snapshot))
                    AND (coalesce(i.shards, 1) = 1 OR (pg_catalog.hashtext(o.aggregate_id) & 4095) % i.shards = c.shard)
                  ORDER BY o.xid, o.position LIMIT 100001)
                UNION ALL
                (SELECT o.created_at, o.position
                   FROM pg_catalog.pg_snapshot_xip(c.base_snapshot::pg_snapshot) AS was_open (xid)
                  CROSS JOIN LATERAL (SELECT e.created_at, e.position FROM posthorn.outbox e
                                       WHERE e.xid >= was_open.xid AND e.xid <= was_open.xid
                                         AND NOT (e.position <= c.position
                                                  AND pg_catalog.pg_visible_in_snapshot(e.xid, c.snapshot::pg_snapshot))
                                         AND (coalesce(i.shards, 1) = 1
                                              OR (pg_catalog.hashtext(e.aggregate_id) & 4095) % i.shards = c.shard)
                                       ORDER BY e.xid, e.position LIMIT 100001) o)
                LIMIT 100001) u) lag ON c.pipeline IS NOT NULL
 WHERE $1::text IS NULL OR coalesce(c.pipeline, l.pipeline) = $1::text
 ORDER BY 1, 2
