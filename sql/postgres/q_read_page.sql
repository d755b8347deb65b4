-- One page of a large tick, in order of position. IS TRUE keeps the planner from the index on xid, whose estimate is stale after a
-- burst: it would sort the whole tick for every page.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL jit = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_sort = off;
COPY (SELECT xid, position, created_at, event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes, content_type,
             deliver_after
        FROM posthorn.outbox
       WHERE position > :after AND position <= :last
         AND ((xid >= :'prev_xmax'::xid8 AND xid < :'cur_xmax'::xid8) OR xid = ANY (:'prev_xip'::xid8[])) IS TRUE
         AND (xid < :'cur_xmin'::xid8 OR pg_catalog.pg_visible_in_snapshot(xid, :'cur'::pg_snapshot))
         AND (:shards = 1 OR (pg_catalog.hashtext(aggregate_id) & 4095) % :shards = :shard)
       ORDER BY position LIMIT :limit) TO STDOUT (FORMAT binary);
COMMIT
