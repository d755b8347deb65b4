SELECT count(*) FROM posthorn_outbox
