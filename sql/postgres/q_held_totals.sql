-- Asked before q_held.sql: what people do between the two raises acts, and the relay asks again.
SELECT coalesce((SELECT acts FROM posthorn.pipeline WHERE pipeline = $1), 0),
       pg_catalog.count(*) FILTER (WHERE state = 'parked'),
       pg_catalog.count(*) FILTER (WHERE state = 'dead'),
       pg_catalog.count(*) FILTER (WHERE state = 'scheduled')
  FROM posthorn.parked
 WHERE pipeline = $1 AND shard = $2::int
