-- Replaces what was said about aggregate ?1, ?2; the row, its id and its place stay.
UPDATE posthorn_parked
   SET headers = '{}',
       payload = CASE WHEN payload IS NOT NULL THEN '{"erased": true}' END,
       content_type = CASE WHEN payload_bytes IS NOT NULL THEN 'application/json' ELSE content_type END,
       payload_bytes = CASE WHEN payload_bytes IS NOT NULL THEN CAST('{"erased": true}' AS BLOB) END
 WHERE aggregate_type = ?1 AND aggregate_id = ?2
   AND (headers <> '{}' OR payload <> '{"erased": true}' OR payload_bytes <> CAST('{"erased": true}' AS BLOB))
