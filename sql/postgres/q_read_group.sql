-- What became visible between two snapshots, all ticks in between at once; the reader splits it by tick and sorts it.
-- "Not visible in the earlier one" follows from the two branches: behind its xmax, or among its open transactions. Two branches
-- instead of OR, so that each is a plain range of the index on (xid, position) and LIMIT ends it early.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL jit = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
COPY (SELECT xid, position, created_at, event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes, content_type,
             deliver_after
        FROM (SELECT * FROM posthorn.outbox WHERE xid >= :'prev_xmax'::xid8 AND xid < :'cur_xmax'::xid8
              UNION ALL
              SELECT * FROM posthorn.outbox WHERE xid = ANY (:'prev_xip'::xid8[])) event
       WHERE (xid < :'cur_xmin'::xid8 OR pg_catalog.pg_visible_in_snapshot(xid, :'cur'::pg_snapshot))
         AND (:shards = 1 OR (pg_catalog.hashtext(aggregate_id) & 4095) % :shards = :shard)
       LIMIT :limit) TO STDOUT (FORMAT binary);
COMMIT
