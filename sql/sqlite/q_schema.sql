SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'posthorn_meta'
