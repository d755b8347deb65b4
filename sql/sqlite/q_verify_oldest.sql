-- Events are cleared from the oldest on: below the first position that is there everything may have been. NULL: everywhere.
SELECT coalesce((SELECT min(position) FROM posthorn_outbox),
                CASE WHEN NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'posthorn_outbox') THEN 0 END)
