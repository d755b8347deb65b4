-- Version 6: a person adopts a log that was restored or copied, or whose sink knows more than the log
-- does. `posthorn init` runs this file behind 0005. Adds functions and a type; no table is locked.
--
-- What it builds on. A row that was written here holds only xids that this cluster had given by then:
-- its own xmin is at or behind them. A row that came by a dump is the restoring transaction's, however
-- high the xids in it are. So the log itself tells whether its xids mean anything (they do after
-- pg_upgrade, a base backup, or a dump into the same cluster), and which events were written behind the
-- restore. Where they mean nothing they are replaced: all that the checkpoints tell apart stays apart.

-- 1. What the log's xids are worth ----------------------------------------------------------------

-- next: the xmax of the present snapshot; a row is at most 2^32 transactions old. This and the other
-- functions that are asked for every row are single expressions without SET, which the planner puts
-- into the query: called one by one they take 50 times as long.
CREATE FUNCTION posthorn.full_xid(row_xmin xid, next bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (next & -4294967296) + row_xmin::text::bigint
           - CASE WHEN row_xmin::text::bigint < (next & 4294967295) THEN 0 ELSE 4294967296 END
$$;
COMMENT ON FUNCTION posthorn.full_xid IS 'The xmin of a row that is visible, with its epoch';

-- Written here, and not before what came from elsewhere: no old snapshot says anything of it.
CREATE FUNCTION posthorn.is_native(restored bigint, next bigint, row_xmin xid, xid xid8) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT xid::text::bigint > restored AND posthorn.full_xid(row_xmin, next) >= xid::text::bigint
$$;

CREATE FUNCTION posthorn.xmax_of(snapshot pg_snapshot) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.pg_snapshot_xmax(snapshot)::text::bigint
$$;

CREATE FUNCTION posthorn.restored_until() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    next  constant bigint := posthorn.xmax_of(pg_current_snapshot());
    until bigint;
BEGIN
    SELECT max(r.by) INTO until FROM (
        SELECT posthorn.full_xid(c.xmin, next) AS by,
               greatest(posthorn.xmax_of(c.snapshot::pg_snapshot),
                        posthorn.xmax_of(c.base_snapshot::pg_snapshot),
                        posthorn.xmax_of(c.start_snapshot::pg_snapshot)) AS holds
          FROM posthorn.checkpoint c
        UNION ALL
        SELECT posthorn.full_xid(t.xmin, next), posthorn.xmax_of(t.snapshot) FROM posthorn.tick t) r
     WHERE r.by < r.holds;
    IF EXISTS (SELECT FROM posthorn.outbox o
                WHERE o.xid >= pg_snapshot_xmax(pg_current_snapshot())) THEN
        SELECT greatest(until, max(posthorn.full_xid(o.xmin, next))) INTO until
          FROM posthorn.outbox o WHERE posthorn.full_xid(o.xmin, next) < o.xid::text::bigint;
    END IF;
    RETURN until;
END $$;
COMMENT ON FUNCTION posthorn.restored_until IS
    'NULL: this cluster gave the xids that the log holds. Else the last transaction that is known to '
    'have brought others; what was written here has a higher one';

CREATE FUNCTION posthorn.is_foreign(restored bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.system_identifier <> m.system_identifier OR d.oid <> m.database_oid
           OR restored IS NOT NULL
      FROM pg_control_system() c, pg_database d, posthorn.meta m
     WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION posthorn.is_foreign IS
    'Whether the log was made in another database; restored: what restored_until() says';

-- 2. Places ---------------------------------------------------------------------------------------

-- Ticks that have no row any more live on in checkpoints. The tick before one that was begun is known
-- by its snapshot alone; any number below serves. Behind adopt() two checkpoints of one tick may have
-- snapshots of which one sees more.
CREATE FUNCTION posthorn.known_ticks() RETURNS TABLE (tick bigint, snapshot pg_snapshot)
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tick, t.snapshot FROM posthorn.tick t
    UNION ALL SELECT c.tick, c.snapshot::pg_snapshot FROM posthorn.checkpoint c
    UNION ALL SELECT c.tick - 1, c.base_snapshot::pg_snapshot FROM posthorn.checkpoint c
               WHERE c.base_snapshot <> c.snapshot
    UNION ALL SELECT 0, '3:3:'
$$;

-- A place in the log: settled is what base_snapshot sees, and what snapshot sees up to position.
CREATE TYPE posthorn.place AS (
    tick bigint, "position" bigint, snapshot pg_snapshot, base_snapshot pg_snapshot);

-- In the order of the log. A tick that is settled as a whole is behind all positions in it; of two such
-- in one tick, which adopt() leaves, one sees more.
CREATE FUNCTION posthorn.place_order(place posthorn.place) RETURNS bigint[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[(place).tick, CASE WHEN (place).snapshot::text = (place).base_snapshot::text
                                    THEN 9223372036854775807 ELSE (place).position END,
                 posthorn.xmax_of((place).snapshot), posthorn.xmax_of((place).base_snapshot)]
$$;

-- For one shard of a pipeline: a tick is whole at a position where that shard has nothing behind it, and
-- another may. The tick itself where it is known; else the end of the one before, so that nothing is left
-- out.
CREATE FUNCTION posthorn.place_at(pipeline text, shard int, tick bigint, "position" bigint)
RETURNS posthorn.place
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest bigint;
    place  posthorn.place;
BEGIN
    SELECT max(k.tick) INTO newest FROM posthorn.known_ticks() k;
    IF place_at.tick > newest THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'position %s-%s is beyond what this database knows, whose newest tick is %s: name a '
            'place in it (posthorn status), or a time', place_at.tick, place_at.position, newest);
    END IF;
    SELECT c.tick, c.position, c.snapshot::pg_snapshot, c.base_snapshot::pg_snapshot INTO place
      FROM posthorn.checkpoint c
     WHERE c.tick = place_at.tick AND c.position = place_at.position
       AND (c.snapshot <> c.base_snapshot
            OR c.pipeline = place_at.pipeline AND c.shard = place_at.shard)
     ORDER BY c.pipeline = place_at.pipeline AND c.shard = place_at.shard DESC LIMIT 1;
    IF FOUND THEN
        RETURN place;
    END IF;
    SELECT k.tick, place_at.position, k.snapshot, k.snapshot INTO place
      FROM posthorn.known_ticks() k WHERE k.tick <= place_at.tick
     ORDER BY k.tick DESC, pg_snapshot_xmax(k.snapshot) DESC LIMIT 1;
    IF place.tick < place_at.tick OR place.tick = 0 THEN
        place.position := 0;
    ELSE
        SELECT k.snapshot INTO place.base_snapshot
          FROM posthorn.known_ticks() k WHERE k.tick < place_at.tick
         ORDER BY k.tick DESC, pg_snapshot_xmax(k.snapshot) DESC LIMIT 1;
    END IF;
    RETURN place;
END $$;

-- The newest tick that sees no event created then or later.
CREATE FUNCTION posthorn.place_since(since timestamptz, restored bigint) RETURNS posthorn.place
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    next      constant bigint := posthorn.xmax_of(pg_current_snapshot());
    first_xid xid8;
    made      bigint; -- the newest tick made before, if it fits
    place     posthorn.place;
BEGIN
    SELECT o.xid INTO first_xid FROM posthorn.outbox o
     WHERE o.created_at >= since
       AND (restored IS NULL OR NOT posthorn.is_native(restored, next, o.xmin, o.xid))
     ORDER BY o.xid LIMIT 1;
    SELECT t.tick INTO made
      FROM (SELECT * FROM posthorn.tick w WHERE w.made_at < since ORDER BY w.made_at DESC LIMIT 1) t
     WHERE NOT EXISTS (SELECT FROM posthorn.outbox o
                        WHERE o.created_at >= since AND o.xid >= first_xid
                          AND pg_visible_in_snapshot(o.xid, t.snapshot));
    SELECT k.tick, 0, k.snapshot, k.snapshot INTO place FROM posthorn.known_ticks() k
     WHERE first_xid IS NULL OR pg_snapshot_xmax(k.snapshot) <= first_xid OR k.tick = made
     ORDER BY k.tick DESC, pg_snapshot_xmax(k.snapshot) DESC LIMIT 1;
    RETURN place;
END $$;

-- 3. What would be done ---------------------------------------------------------------------------

CREATE TYPE posthorn.adoption AS (
    pipeline text, shard int, moved boolean, rebased boolean, "from" posthorn.place,
    "to" posthorn.place, again bigint, first bigint, skipped bigint, beside bigint,
    in_sink boolean, -- a sink held a checkpoint, so it may hold events behind "from"
    refused text);   -- by a dry run: why it would not be done now

-- One row a checkpoint that is moved; in a foreign log one each, where the others keep their place. A
-- named pipeline that has not begun stands at the beginning, also those of its shards that are not named.
CREATE FUNCTION posthorn.adopt_places(
    pipeline text, shard int, how text, tick bigint, "position" bigint, since timestamptz,
    restored bigint)
RETURNS SETOF posthorn.adoption
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole constant boolean := posthorn.is_foreign(restored);
    goal  posthorn.place;
    c     record;
    a     posthorn.adoption;
BEGIN
    goal := CASE how WHEN 'since' THEN posthorn.place_since(since, restored)
                     WHEN 'all' THEN ROW(0, 0, '3:3:', '3:3:')::posthorn.place END;
    FOR c IN
        SELECT k.pipeline, k.shard, ROW(k.tick, k.position, k.snapshot, k.base_snapshot)::posthorn.place
                   AS place, true AS begun, coalesce(k.sink_tick >= -1, false) AS in_sink
          FROM posthorn.checkpoint k
        UNION ALL
        SELECT l.pipeline, n, ROW(0, 0, '3:3:', '3:3:')::posthorn.place, false, false
          FROM posthorn.pipeline l, generate_series(0, l.shards - 1) n
         WHERE l.pipeline = adopt_places.pipeline
           AND NOT EXISTS (SELECT FROM posthorn.checkpoint b WHERE b.pipeline = l.pipeline)
         ORDER BY 1, 2
    LOOP
        a := NULL;
        a.pipeline := c.pipeline;
        a.shard := c.shard;
        a.in_sink := c.in_sink;
        a.moved := c.pipeline = coalesce(adopt_places.pipeline, c.pipeline)
                   AND c.shard = coalesce(adopt_places.shard, c.shard);
        CONTINUE WHEN NOT a.moved AND c.begun AND NOT whole;
        a.rebased := restored IS NOT NULL;
        a."from" := c.place;
        IF a.moved AND how = 'from' THEN
            a."to" := posthorn.place_at(c.pipeline, c.shard, tick, "position");
        ELSE
            a."to" := CASE WHEN a.moved AND how <> 'keep' THEN goal ELSE c.place END;
        END IF;
        IF (a."to").snapshot::text = (a."to").base_snapshot::text AND (a."to").tick > 0 THEN
            a."to".position := greatest((a."to").position, (
                SELECT max(p.position) FROM posthorn.parked p
                 WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.tick = (a."to").tick));
        END IF;
        RETURN NEXT a;
    END LOOP;
END $$;

CREATE FUNCTION posthorn.settles(base pg_snapshot, snapshot pg_snapshot, upto bigint, xid xid8,
                                 "position" bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.pg_visible_in_snapshot(xid, base)
           OR "position" <= upto AND pg_catalog.pg_visible_in_snapshot(xid, snapshot)
$$;
COMMENT ON FUNCTION posthorn.settles IS 'Whether an event of the log is settled at a place';

-- Reads from the lower of the two places on; the whole log where xids are to be replaced. An event that
-- has a row beside the log is not sent from the log, whatever the row's state.
CREATE FUNCTION posthorn.adopt_count(a posthorn.adoption, restored bigint) RETURNS posthorn.adoption
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    least_xid constant xid8 := CASE WHEN restored IS NOT NULL THEN '0' ELSE
        least(pg_snapshot_xmin((a."from").base_snapshot), pg_snapshot_xmin((a."to").base_snapshot)) END;
    next      constant bigint := posthorn.xmax_of(pg_current_snapshot());
    was_base  constant pg_snapshot := (a."from").base_snapshot; -- of a place, taken apart once
    was_seen  constant pg_snapshot := (a."from").snapshot;
    was_at    constant bigint := (a."from").position;
    now_base  constant pg_snapshot := (a."to").base_snapshot;
    now_seen  constant pg_snapshot := (a."to").snapshot;
    now_at    constant bigint := (a."to").position;
    shards    int;
BEGIN
    SELECT l.shards INTO shards FROM posthorn.pipeline l WHERE l.pipeline = a.pipeline;
    SELECT count(*) FILTER (WHERE e.was AND NOT e.now), count(*) FILTER (WHERE NOT e.was AND NOT e.now),
           count(*) FILTER (WHERE NOT e.was AND e.now) INTO a.again, a.first, a.skipped
      FROM (SELECT posthorn.settles(was_base, was_seen, was_at, n.xid, n.position) AND NOT n.native
                       AS was,
                   posthorn.settles(now_base, now_seen, now_at, n.xid, n.position) AND NOT n.native
                       AS now
              FROM (SELECT o.xid, o.position,
                           restored IS NOT NULL AND posthorn.is_native(restored, next, o.xmin, o.xid)
                               AS native
                      FROM posthorn.outbox o
                     WHERE o.xid >= least_xid
                       AND (coalesce(shards, 1) = 1
                            OR (hashtext(o.aggregate_id) & 4095) % shards = a.shard)
                       AND NOT EXISTS (SELECT FROM posthorn.parked p
                                        WHERE p.pipeline = a.pipeline AND p.shard = a.shard
                                          AND p.position = o.position)
                    OFFSET 0) n OFFSET 0) e; -- each asked once a row
    SELECT count(*) INTO a.beside FROM posthorn.parked p
     WHERE p.pipeline = a.pipeline AND p.shard = a.shard
       AND p.state IN ('parked', 'dead', 'scheduled');
    RETURN a;
END $$;

-- 4. Parts of the act -----------------------------------------------------------------------------

-- A position is one shard's own: where a pipeline has several, each is adopted at its place.
CREATE FUNCTION posthorn.adopt_refuse_shard(pipeline text, shard int, how text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    many record;
BEGIN
    IF shard IS NOT NULL AND (how <> 'from' OR pipeline IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.adopt: shard goes with how = from, and with a pipeline';
    END IF;
    SELECT l.pipeline, l.shards INTO many FROM posthorn.pipeline l
     WHERE how = 'from' AND l.pipeline = coalesce(adopt_refuse_shard.pipeline, l.pipeline)
       AND (l.shards > 1 AND adopt_refuse_shard.shard IS NULL
            OR adopt_refuse_shard.shard NOT BETWEEN 0 AND l.shards - 1)
       AND (adopt_refuse_shard.pipeline IS NOT NULL
            OR EXISTS (SELECT FROM posthorn.checkpoint c WHERE c.pipeline = l.pipeline))
     ORDER BY l.pipeline LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %1$s has %2$s shard%3$s, and each shard has a place of its own: adopt %1$s with '
            '--shard N (0 to %4$s), one after the other', many.pipeline, many.shards,
            CASE WHEN many.shards > 1 THEN 's' END, many.shards - 1);
    END IF;
END $$;

CREATE FUNCTION posthorn.adopt_refuse(pipeline text, how text, who text, writes boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.adopt: who must not be empty';
    ELSIF (how IN ('from', 'since', 'all', 'keep')) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.adopt: how must be from, since, all or keep';
    ELSIF pg_is_in_recovery() THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'posthorn.adopt: this is a standby; promote it first, or connect to the primary';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn.adopt: the transaction must be READ COMMITTED';
    ELSIF writes AND pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE =
            'posthorn.adopt: this transaction has already written something; it needs one of its own';
    ELSIF NOT EXISTS (SELECT FROM posthorn.pipeline l
                       WHERE l.pipeline = coalesce(adopt_refuse.pipeline, l.pipeline))
          AND pipeline IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the log knows no pipeline %s', pipeline);
    ELSIF how = 'keep' AND pipeline IS NOT NULL
          AND NOT EXISTS (SELECT FROM posthorn.checkpoint c
                           WHERE c.pipeline = adopt_refuse.pipeline) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %s has not begun in this database: there is nothing to keep', pipeline);
    END IF;
END $$;

-- Why it may not be done now; NULL when nobody owns a pipeline that it is about.
CREATE FUNCTION posthorn.adopt_owned(pipeline text, whole boolean) RETURNS text
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('pipeline %s is owned by %s until %s: stop all its instances, then adopt',
                  l.pipeline, l.owner,
                  to_char(l.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
      FROM posthorn.lease l
     WHERE (whole OR adopt_owned.pipeline IS NULL OR l.pipeline = adopt_owned.pipeline)
       AND l.expires_at > clock_timestamp()
     ORDER BY l.pipeline, l.shard LIMIT 1
$$;

-- Each place once, in order.
CREATE FUNCTION posthorn.adopt_cuts(places posthorn.adoption[]) RETURNS posthorn.place[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(d.place ORDER BY d.ordering)
      FROM (SELECT DISTINCT ON (u.ordering) u.* FROM (
                SELECT p."to" AS place, posthorn.place_order(p."to") AS ordering
                  FROM unnest(places) p) u ORDER BY u.ordering) d
$$;

-- Each place needs a transaction id of its own, from the first there is (3) on.
CREATE FUNCTION posthorn.adopt_young(cuts posthorn.place[]) RETURNS text
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('the checkpoints stand at %s different places, and this server is too young to have '
                  'as many transaction ids: adopt with --all', cardinality(cuts))
     WHERE 3 + cardinality(cuts) >= posthorn.xmax_of(pg_current_snapshot())
$$;

-- Keeps instances out, as forget() does, after all that takes time was looked up, whose owners renew
-- their leases meanwhile. A foreign log is adopted as a whole.
CREATE FUNCTION posthorn.adopt_lock(pipeline text, places posthorn.adoption[], restored bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole boolean;
    owned text;
BEGIN
    LOCK TABLE posthorn.lease IN SHARE ROW EXCLUSIVE MODE;
    whole := posthorn.is_foreign(restored);
    owned := posthorn.adopt_owned(pipeline, whole);
    IF owned IS NOT NULL THEN
        RAISE object_in_use USING MESSAGE = owned;
    END IF;
    IF EXISTS (SELECT FROM unnest(places) p LEFT JOIN posthorn.checkpoint c
                   ON c.pipeline = p.pipeline AND c.shard = p.shard
                WHERE (coalesce(c.tick, 0), coalesce(c.position, 0), coalesce(c.snapshot, '3:3:'))
                   <> ((p."from").tick, (p."from").position, (p."from").snapshot::text)) THEN
        RAISE object_in_use USING MESSAGE = 'a checkpoint moved meanwhile: stop all instances, then adopt';
    END IF;
    PERFORM posthorn.lock_pipelines(CASE WHEN NOT whole THEN pipeline END);
    PERFORM pg_advisory_xact_lock(8101821129752310383); -- no bucket is cleared meanwhile
    RETURN whole;
END $$;

-- All events that came from elsewhere get new xids, lower than any that is in use: one number for all
-- that no place tells apart, so one tick brings what is settled nowhere, in order of position, and a
-- place becomes one snapshot. An event that some place does not settle is settled at no place before it
-- either, so none is lost even if two places should overlap. Writers go on; what they write keeps its
-- xid: the UPDATE asks its own snapshot how far xids go, since it sees what was committed while the
-- statements before it ran.
CREATE FUNCTION posthorn.adopt_rebase(places posthorn.adoption[], restored bigint)
RETURNS posthorn.adoption[]
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    base  constant bigint := 3; -- the first xid there is
    cuts  constant posthorn.place[] := posthorn.adopt_cuts(places);
    made  posthorn.adoption[] := '{}';
    a     posthorn.adoption;
    young text;
    n     bigint;
BEGIN
    young := posthorn.adopt_young(cuts);
    IF young IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = young;
    END IF;
    UPDATE posthorn.outbox o
       SET xid = (base + (SELECT coalesce(max(k.n), 0)
                            FROM unnest(cuts) WITH ORDINALITY k (tick, upto, seen, under, n)
                           WHERE NOT posthorn.settles(k.under, k.seen, k.upto, o.xid, o.position)
                          ))::text::xid8
      FROM (SELECT posthorn.xmax_of(pg_current_snapshot()) AS next OFFSET 0) s -- this statement's
     WHERE NOT posthorn.is_native(restored, s.next, o.xmin, o.xid);
    FOREACH a IN ARRAY places LOOP
        SELECT count(*) INTO n FROM unnest(cuts) k
         WHERE posthorn.place_order(k) <= posthorn.place_order(a."to");
        a."to".snapshot := format('%s:%s:', base + n, base + n);
        a."to".base_snapshot := (a."to").snapshot;
        made := made || a;
    END LOOP;
    TRUNCATE posthorn.tick;
    RETURN made;
END $$;

-- A tick of its own, which sees all that was there: numbers go on above all that were used. Its row is
-- written in a subtransaction, whose xid comes behind the snapshot, as restored_until() asks of a row;
-- that of the transaction was given when it took its locks.
CREATE FUNCTION posthorn.adopt_tick() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used bigint;
    made bigint;
    seen pg_snapshot;
BEGIN
    PERFORM pg_advisory_xact_lock(8101821129752310382);
    SELECT max(u.tick) INTO used FROM (
        SELECT max(c.tick) AS tick FROM posthorn.checkpoint c
        UNION ALL SELECT max(t.tick) FROM posthorn.tick t
        UNION ALL SELECT max(greatest(p.tick, p.queue_tick)) FROM posthorn.parked p) u;
    PERFORM setval('posthorn.tick_tick_seq', used)
       FROM posthorn.tick_tick_seq s WHERE used > 0 AND (s.last_value < used OR NOT s.is_called);
    seen := pg_current_snapshot();
    BEGIN
        INSERT INTO posthorn.tick AS t (snapshot) VALUES (seen) RETURNING t.tick INTO made;
    EXCEPTION WHEN unique_violation THEN
        RAISE; -- there is no such constraint; the clause makes the subtransaction
    END;
    PERFORM setval('posthorn.outbox_position_seq', u.used)
       FROM (SELECT max(o.position) AS used FROM posthorn.outbox o) u, posthorn.outbox_position_seq s
      WHERE s.last_value < u.used OR NOT s.is_called;
    RETURN made;
END $$;

-- The tick in which the log brings an event again that a place does not settle.
CREATE FUNCTION posthorn.tick_behind(place posthorn.place, tick bigint, "position" bigint)
RETURNS bigint LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN (tick, "position") <= (place.tick, place."position") THEN tick
                WHEN tick = place.tick AND place.snapshot::text <> place.base_snapshot::text THEN tick
                ELSE (SELECT t.tick FROM posthorn.tick t
                       WHERE t.tick >= tick_behind.tick AND t.tick > place.tick
                       ORDER BY t.tick LIMIT 1) END
$$;

-- Rows beside the log keep their state. Those in front of the place come with the log again, and must
-- be known there by the tick that brings them; what is settled at the place stands before them. verify
-- asks for what comes from now on, as of a pipeline that begins there: in a log that is at home, whose
-- sink has the rest, for the tick's other events too.
CREATE FUNCTION posthorn.adopt_move(
    a posthorn.adoption, how text, whole boolean, epoch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    UPDATE posthorn.parked p
       SET tick = posthorn.tick_behind(a."to", p.tick, p.position),
           queue_tick = posthorn.tick_behind(a."to", p.queue_tick, p.queue_position)
     WHERE p.pipeline = a.pipeline AND p.shard = a.shard
       AND ((p.tick, p.position) > ((a."to").tick, (a."to").position)
            OR (p.queue_tick, p.queue_position) > ((a."to").tick, (a."to").position));
    INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, timeline, snapshot,
                                     base_snapshot, start_snapshot)
    VALUES (a.pipeline, a.shard, 0, 0, 0, '3:3:', '3:3:', '3:3:') ON CONFLICT DO NOTHING;
    UPDATE posthorn.checkpoint c
       SET tick = (a."to").tick, position = (a."to").position, snapshot = (a."to").snapshot::text,
           base_snapshot = (a."to").base_snapshot::text, epoch = adopt_move.epoch,
           timeline = posthorn.timeline(), updated_at = clock_timestamp(),
           sink_tick = -1, sink_position = -1,
           start_snapshot = CASE
               WHEN NOT a.rebased AND (NOT a.moved OR how = 'keep') THEN c.start_snapshot
               WHEN NOT whole AND (c.tick, c.position) > ((a."to").tick, (a."to").position)
               THEN (a."to").base_snapshot::text ELSE (a."to").snapshot::text END
     WHERE c.pipeline = a.pipeline AND c.shard = a.shard;
    UPDATE posthorn.lease l SET epoch = adopt_move.epoch
     WHERE l.pipeline = a.pipeline AND l.shard = a.shard;
    UPDATE posthorn.pipeline l SET acts = l.acts + 1 WHERE l.pipeline = a.pipeline;
END $$;

-- 5. The act --------------------------------------------------------------------------------------

CREATE FUNCTION posthorn.adopt(
    pipeline text, how text, who text, reason text DEFAULT NULL, tick bigint DEFAULT NULL,
    "position" bigint DEFAULT NULL, since timestamptz DEFAULT NULL, dry_run boolean DEFAULT false,
    shard int DEFAULT NULL)
RETURNS SETOF posthorn.adoption
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    restored bigint;
    whole    boolean;
    newest   bigint;
    moved    posthorn.adoption[];
    places   posthorn.adoption[];
    a        posthorn.adoption;
    why      text; -- it would be refused now
BEGIN
    PERFORM posthorn.adopt_refuse(pipeline, how, who, dry_run IS FALSE);
    PERFORM posthorn.adopt_refuse_shard(pipeline, shard, how);
    restored := posthorn.restored_until();
    SELECT coalesce(array_agg(posthorn.adopt_count(p, restored)), '{}') INTO places
      FROM posthorn.adopt_places(pipeline, shard, how, tick, "position", since, restored) p;
    IF dry_run IS NOT FALSE THEN
        why := coalesce(posthorn.adopt_owned(pipeline, posthorn.is_foreign(restored)), CASE
            WHEN restored IS NOT NULL THEN posthorn.adopt_young(posthorn.adopt_cuts(places)) END);
        FOREACH a IN ARRAY places LOOP
            a.refused := why;
            RETURN NEXT a;
        END LOOP;
        RETURN;
    END IF;
    whole := posthorn.adopt_lock(pipeline, places, restored);

    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    moved := CASE WHEN restored IS NULL THEN places ELSE posthorn.adopt_rebase(places, restored) END;
    newest := posthorn.adopt_tick();
    FOREACH a IN ARRAY moved LOOP
        PERFORM posthorn.adopt_move(a, how, whole, (
            SELECT 1 + coalesce(max(k.epoch), 0) FROM (
                SELECT l.epoch FROM posthorn.lease l WHERE l.pipeline = a.pipeline UNION ALL
                SELECT c.epoch FROM posthorn.checkpoint c WHERE c.pipeline = a.pipeline) k));
        DELETE FROM posthorn.member m WHERE m.pipeline = a.pipeline;
    END LOOP;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    SELECT adopt.who, 'adopt', adopt.reason, jsonb_build_object(
               'pipeline', pipeline, 'shard', shard, 'how', how, 'foreign', whole,
               'rebased', restored IS NOT NULL,
               'systemIdentifier', m.system_identifier::text, 'databaseOid', m.database_oid::text,
               'tick', newest, 'login', session_user, 'checkpoints', (
                   SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'pipeline', p.pipeline, 'shard', p.shard,
                              'from', concat((p."from").tick, '-', (p."from").position),
                              'to', concat((p."to").tick, '-', (p."to").position),
                              'again', p.again, 'first', p.first, 'skipped', p.skipped)), '[]')
                     FROM unnest(places) p))
      FROM posthorn.meta m;
    UPDATE posthorn.meta m
       SET system_identifier = i.system_identifier, database_oid = i.database_oid
      FROM posthorn.identity() i;
    RETURN QUERY SELECT * FROM unnest(places);
END $$;
COMMENT ON FUNCTION posthorn.adopt IS
    'Makes this database the log''s own and moves the checkpoints of a pipeline, or of all, to where a '
    'person says: how = from (tick, position; with shard where there are several), since (a time), all, '
    'keep. What a sink holds does not count then. Returns what is sent again, for the first time and not at all';

-- 6. Nobody but the owner, until a person grants it -----------------------------------------------

REVOKE ALL ON FUNCTION
    posthorn.full_xid(xid, bigint), posthorn.xmax_of(pg_snapshot), posthorn.restored_until(),
    posthorn.is_foreign(bigint), posthorn.known_ticks(), posthorn.place_order(posthorn.place),
    posthorn.place_at(text, int, bigint, bigint), posthorn.place_since(timestamptz, bigint),
    posthorn.adopt_places(text, int, text, bigint, bigint, timestamptz, bigint),
    posthorn.adopt_refuse_shard(text, int, text),
    posthorn.settles(pg_snapshot, pg_snapshot, bigint, xid8, bigint),
    posthorn.is_native(bigint, bigint, xid, xid8),
    posthorn.adopt_count(posthorn.adoption, bigint),
    posthorn.adopt_refuse(text, text, text, boolean), posthorn.adopt_owned(text, boolean),
    posthorn.adopt_cuts(posthorn.adoption[]), posthorn.adopt_young(posthorn.place[]),
    posthorn.adopt_lock(text, posthorn.adoption[], bigint),
    posthorn.adopt_rebase(posthorn.adoption[], bigint), posthorn.adopt_tick(),
    posthorn.tick_behind(posthorn.place, bigint, bigint),
    posthorn.adopt_move(posthorn.adoption, text, boolean, bigint),
    posthorn.adopt(text, text, text, text, bigint, bigint, timestamptz, boolean, int) FROM PUBLIC;
