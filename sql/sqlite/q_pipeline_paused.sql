SELECT paused_at IS NOT NULL FROM posthorn_pipeline WHERE pipeline = ?1
