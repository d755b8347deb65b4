-- The locks of strict events, $1 their aggregate ids: those that posthorn.publish(strict => true) takes, in rising order.
SELECT pg_catalog.count(pg_catalog.pg_advisory_xact_lock(1886352244, l.folded))
  FROM (SELECT DISTINCT pg_catalog.hashtext(a.id) & 4095 AS folded FROM unnest($1::text[]) AS a (id)
         ORDER BY folded) AS l
