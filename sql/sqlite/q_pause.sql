UPDATE posthorn_pipeline SET paused_at = ?2, paused_by = ?3, paused_reason = ?4 WHERE pipeline = ?1 AND paused_at IS NULL
