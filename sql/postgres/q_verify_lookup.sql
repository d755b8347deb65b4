-- What the log knows of records that no settled event explains; $1 positions, $2 ids. 'known': the event is there (not settled
-- yet, skipped, or older than the pipeline). 'gone': its bucket may have been cleared. 'phantom': it would have to be there.
-- An event's time lies between those of its neighbours by position (10 s of slack); all buckets of that time must still be whole,
-- and a bucket is whole when a row of it is there or it is the current one.
SELECT u.n, CASE
       WHEN l.known THEN 'known'
       WHEN EXISTS (SELECT FROM pg_catalog.generate_series(
                        pg_catalog.floor(date_part('epoch', greatest(m.installed_at,
                            coalesce(prev.created_at - interval '10 s', m.installed_at))) / w.width)::bigint,
                        pg_catalog.floor(date_part('epoch', least(t.now,
                            coalesce(next.created_at + interval '10 s', t.now))) / w.width)::bigint) k (k)
                     WHERE k.k <> coalesce(pg_catalog.floor(date_part('epoch', prev.created_at) / w.width), -1)
                       AND k.k <> coalesce(pg_catalog.floor(date_part('epoch', next.created_at) / w.width), -1)
                       AND k.k <> pg_catalog.floor(date_part('epoch', t.now) / w.width)) THEN 'gone'
       ELSE 'phantom' END
  FROM unnest($1::bigint[], $2::uuid[]) WITH ORDINALITY AS u (position, id, n)
 CROSS JOIN posthorn.meta m
 CROSS JOIN LATERAL (SELECT m.ring_width_seconds::float8) AS w (width)
 CROSS JOIN (SELECT pg_catalog.clock_timestamp()) AS t (now)
 CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM posthorn.outbox o
                                     WHERE o.position = u.position AND o.event_id = u.id)
                     OFFSET 0) AS l (known) -- asked once
  LEFT JOIN LATERAL (SELECT o.created_at FROM posthorn.outbox o WHERE NOT l.known AND o.position < u.position
                      ORDER BY o.position DESC LIMIT 1) prev ON true
  LEFT JOIN LATERAL (SELECT o.created_at FROM posthorn.outbox o WHERE NOT l.known AND o.position > u.position
                      ORDER BY o.position LIMIT 1) next ON true
 ORDER BY u.n
