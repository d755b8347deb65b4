-- Moves the checkpoints of pipeline ?1 (NULL: of all) behind position ?2 (NULL: they stay); what a sink holds does not count. An
-- instance that slept finds itself fenced.
UPDATE posthorn_checkpoint
   SET position = coalesce(?2, position), start_position = coalesce(?2, start_position), updated_at = ?3,
       epoch = 1 + max(epoch, coalesce((SELECT max(l.epoch) FROM posthorn_lease l WHERE l.pipeline = posthorn_checkpoint.pipeline), 0)),
       sink_tick = -1, sink_position = -1
 WHERE ?1 IS NULL OR pipeline = ?1
