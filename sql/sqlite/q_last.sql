-- The greatest position that was committed, also when its row is gone by now.
SELECT max(coalesce((SELECT max(position) FROM posthorn_outbox), 0),
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'posthorn_outbox'), 0))
