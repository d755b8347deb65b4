SELECT count(*) FROM posthorn_outbox WHERE position > ?1 AND position <= ?2
