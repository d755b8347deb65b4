INSERT INTO posthorn_outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
