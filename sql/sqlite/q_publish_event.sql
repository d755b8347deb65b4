-- One event of libposthorn.
INSERT INTO main.posthorn_outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes,
                                  content_type)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
