-- Events of libposthorn, one array a field. The sort is below the insert, so positions are drawn in the order of the arrays.
INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes,
                             content_type)
SELECT l.event_id, l.aggregate_type, l.aggregate_id, l.event_type, l.headers::jsonb, l.payload::jsonb, l.payload_bytes,
       l.content_type
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])
       WITH ORDINALITY AS l (event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes,
                             content_type, line)
 ORDER BY l.line
