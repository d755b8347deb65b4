-- q_read_group.sql where the earlier snapshot had no transaction open: one branch, half the planning.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL jit = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
COPY (SELECT xid, position, created_at, event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes, content_type,
             deliver_after
        FROM posthorn.outbox
       WHERE xid >= :'prev_xmax'::xid8 AND xid < :'cur_xmax'::xid8
         AND (xid < :'cur_xmin'::xid8 OR pg_catalog.pg_visible_in_snapshot(xid, :'cur'::pg_snapshot))
         AND (:shards = 1 OR (pg_catalog.hashtext(aggregate_id) & 4095) % :shards = :shard)
       LIMIT :limit) TO STDOUT (FORMAT binary);
COMMIT
