UPDATE posthorn_pipeline SET paused_at = NULL, paused_by = NULL, paused_reason = NULL
 WHERE pipeline = ?1 AND paused_at IS NOT NULL
