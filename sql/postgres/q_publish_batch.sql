-- Many events, one array a field. The sort is below the insert, so positions are drawn in the order of the arrays.
INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload)
SELECT coalesce(l.event_id, pg_catalog.gen_random_uuid()), l.aggregate_type, l.aggregate_id, l.event_type,
       coalesce(l.headers::jsonb, '{}'), l.payload::jsonb
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
       WITH ORDINALITY AS l (event_id, aggregate_type, aggregate_id, event_type, headers, payload, line)
 ORDER BY l.line
