-- The greatest position that is there.
SELECT coalesce(max(position), 0) FROM posthorn_outbox
