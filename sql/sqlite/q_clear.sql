DELETE FROM posthorn_outbox WHERE position <= ?1
