-- The least and greatest position of a tick too large to sort, from the first index alone; may be wider than the tick, never narrower.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL jit = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT pg_catalog.min(position), pg_catalog.max(position)
  FROM (SELECT position FROM posthorn.outbox WHERE xid >= :'prev_xmax'::xid8 AND xid < :'cur_xmax'::xid8
        UNION ALL
        SELECT position FROM posthorn.outbox WHERE xid = ANY (:'prev_xip'::xid8[])) event;
COMMIT
