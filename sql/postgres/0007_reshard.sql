-- Version 7: what gives a pipeline another number of shards, and what erases. `posthorn init` runs this file behind
-- 0006. Functions alone, in the place of earlier ones, which did not ask how a pipeline was stopped or whose log it is,
-- and went by numbers of ticks where adopt() leaves one number to several places. No table is locked.

-- 1. Whose log it is ------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION posthorn.refuse_foreign_log() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE read_only_sql_transaction USING MESSAGE = 'posthorn: this is a standby';
    ELSIF NOT EXISTS (SELECT FROM posthorn.identity() i
                       WHERE i.system_identifier = i.installed_system_identifier
                         AND i.database_oid = i.installed_database_oid AND i.future_rows = 0) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'posthorn: this log was made in '
            'another database, so its xids mean nothing here until it is adopted (posthorn adopt)';
    END IF;
END $$;

-- 2. Reshard -------------------------------------------------------------------------------------

-- Copies what the checkpoint of one shard has not settled, up to the tick upto, beside the log, each
-- event with the tick that sees it first, as the reader tells it. At most most rows. Ticks that have no
-- row any more live on in the checkpoints of the other shards; behind adopt() two of one number may
-- see one more than the other.
CREATE OR REPLACE FUNCTION posthorn.park_unsettled(
    pipeline text, shard int, shards int, upto bigint, most bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET jit = off AS $$
DECLARE
    copied bigint;
BEGIN
    INSERT INTO posthorn.parked (
        pipeline, shard, tick, position, queue_tick, queue_position, key, state, next_attempt_at, xid,
        created_at, event_id, aggregate_type, aggregate_id, event_type, headers, payload,
        payload_bytes, content_type, deliver_after)
    SELECT c.pipeline, c.shard, s.tick, e.position, s.tick, e.position, e.aggregate_id,
           CASE WHEN e.deliver_after > clock_timestamp() THEN 'scheduled' ELSE 'parked' END,
           CASE WHEN e.deliver_after > clock_timestamp() THEN e.deliver_after END, e.xid,
           e.created_at, e.event_id, e.aggregate_type, e.aggregate_id, e.event_type, e.headers,
           e.payload, e.payload_bytes, e.content_type, e.deliver_after
      FROM posthorn.checkpoint c
     CROSS JOIN LATERAL (
            SELECT w.own, w.tick, w.seen, lag(w.seen, 1, c.base_snapshot::pg_snapshot)
                       OVER (ORDER BY w.own DESC, w.tick, pg_snapshot_xmax(w.seen)) AS before
              FROM (SELECT true AS own, c.tick, c.snapshot::pg_snapshot AS seen
                    UNION ALL
                    SELECT false, t.tick, t.snapshot FROM posthorn.tick t
                     WHERE t.tick > c.tick AND t.tick <= park_unsettled.upto
                    UNION ALL
                    SELECT false, k.tick, k.snapshot::pg_snapshot FROM posthorn.checkpoint k
                     WHERE k.pipeline = c.pipeline AND k.tick <= park_unsettled.upto
                       AND (k.tick, pg_snapshot_xmax(k.snapshot::pg_snapshot))
                         > (c.tick, pg_snapshot_xmax(c.snapshot::pg_snapshot))) w) s
     CROSS JOIN LATERAL (
            (SELECT o.* FROM posthorn.outbox o
              WHERE o.xid >= pg_snapshot_xmax(s.before) AND o.xid < pg_snapshot_xmax(s.seen) OFFSET 0)
            UNION ALL
            SELECT o.* FROM pg_snapshot_xip(s.before) AS was_open (xid)
             CROSS JOIN LATERAL (SELECT * FROM posthorn.outbox
                                  WHERE xid >= was_open.xid AND xid <= was_open.xid OFFSET 0) o) e
     WHERE c.pipeline = park_unsettled.pipeline AND c.shard = park_unsettled.shard
       AND pg_visible_in_snapshot(e.xid, s.seen)
       AND (NOT s.own OR e.position > c.position)
       AND (park_unsettled.shards = 1
            OR (hashtext(e.aggregate_id) & 4095) % park_unsettled.shards = park_unsettled.shard)
     LIMIT most
    ON CONFLICT ON CONSTRAINT parked_pipeline_shard_position_key DO NOTHING;
    GET DIAGNOSTICS copied = ROW_COUNT;
    RETURN copied;
END $$;
COMMENT ON FUNCTION posthorn.park_unsettled IS
    'Parks what a pipeline shard has not settled up to a tick; an event that has a row keeps it';

-- Drives every old shard to one tick without its sink: the furthest that any of them has reached.
-- Leases are locked as forget() locks them; the epochs of the new shards begin above all old ones, so
-- that an instance that slept through this finds itself fenced. Under exactly-once the database's
-- checkpoints are the sink's only when their instance gave its lease back; the new shards begin there.
-- What adopt() made void (-1) is void for them, too. That an old shard's sink was not asked yet (-2) is
-- nothing to them: what it holds is another shard's place.
CREATE OR REPLACE FUNCTION posthorn.reshard(pipeline text, shards int, who text, reason text DEFAULT NULL,
                                 OUT shards_before int, OUT parked bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most   constant bigint := 100000;
    moment constant timestamptz := clock_timestamp();
    held   record;
    goal   record; -- the checkpoint that is furthest
    void   bigint; -- -1 where what the sink holds is overwritten
    old    int;
    newest bigint; -- epoch
BEGIN
    IF (pipeline <> '' AND who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.reshard: pipeline and who must not be empty';
    ELSIF (shards BETWEEN 1 AND 64) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.reshard: shards must be from 1 to 64';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn.reshard: the transaction must be READ COMMITTED';
    END IF;
    PERFORM posthorn.refuse_foreign_log();
    LOCK TABLE posthorn.lease IN SHARE ROW EXCLUSIVE MODE;
    SELECT l.shard, l.owner, l.expires_at INTO held FROM posthorn.lease l
     WHERE l.pipeline = reshard.pipeline AND l.expires_at > clock_timestamp() ORDER BY l.shard LIMIT 1;
    IF FOUND THEN
        RAISE object_in_use USING MESSAGE = format(
            'pipeline %s is running: shard %s is owned by %s until %s. Stop all its instances, '
            'reshard, and start them again with shards set to %s', pipeline, held.shard, held.owner,
            to_char(held.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), shards);
    END IF;
    PERFORM posthorn.lock_pipelines(pipeline);
    SELECT l.shards INTO shards_before FROM posthorn.pipeline l WHERE l.pipeline = reshard.pipeline;
    parked := 0;
    IF shards_before = shards THEN
        RETURN;
    END IF;
    SELECT c.shard INTO old FROM posthorn.checkpoint c JOIN posthorn.lease l USING (pipeline, shard)
     WHERE c.pipeline = reshard.pipeline AND c.sink_tick <> -1 AND l.expires_at <> '-infinity'
     ORDER BY c.shard LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %s delivers exactly-once and shard %s was not stopped in order, so its sink may hold '
            'more than its checkpoint says: start it with shards set to %s, stop it, and reshard then', pipeline, old,
            shards_before);
    END IF;

    SELECT min(c.sink_tick) INTO void FROM posthorn.checkpoint c
     WHERE c.pipeline = reshard.pipeline AND c.sink_tick = -1;
    SELECT c.tick, c.position, c.snapshot, c.start_snapshot, c.timeline INTO goal
      FROM posthorn.checkpoint c
     WHERE c.pipeline = reshard.pipeline
     ORDER BY c.tick DESC, pg_snapshot_xmax(c.snapshot::pg_snapshot) DESC, c.position DESC LIMIT 1;
    FOR old IN SELECT c.shard FROM posthorn.checkpoint c WHERE c.pipeline = reshard.pipeline
    LOOP
        parked := parked + posthorn.park_unsettled(pipeline, old, shards_before, goal.tick,
                                                   most + 1 - parked);
    END LOOP;
    IF parked > most THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %s has more than %s events that not all of its shards have reached: let it '
            'deliver first, then stop it and reshard', pipeline, most);
    END IF;

    UPDATE posthorn.parked p
       SET shard = (hashtext(p.aggregate_id) & 4095) % reshard.shards,
           key = CASE WHEN p.key IS NOT NULL THEN p.aggregate_id END
     WHERE p.pipeline = reshard.pipeline;
    PERFORM posthorn.mend_queues(pipeline, moment);

    SELECT max(k.epoch) INTO newest FROM (
        SELECT l.epoch FROM posthorn.lease l WHERE l.pipeline = reshard.pipeline UNION ALL
        SELECT c.epoch FROM posthorn.checkpoint c WHERE c.pipeline = reshard.pipeline) k;
    DELETE FROM posthorn.member m WHERE m.pipeline = reshard.pipeline;
    DELETE FROM posthorn.lease l WHERE l.pipeline = reshard.pipeline AND l.shard >= reshard.shards;
    INSERT INTO posthorn.lease AS l (pipeline, shard, epoch, expires_at, owner, retention)
    SELECT reshard.pipeline, n, newest + 1, '-infinity', '',
           (SELECT max(r.retention) FROM posthorn.lease r WHERE r.pipeline = reshard.pipeline)
      FROM generate_series(0, reshard.shards - 1) n WHERE newest IS NOT NULL
    ON CONFLICT ON CONSTRAINT lease_pkey DO UPDATE SET epoch = excluded.epoch;
    DELETE FROM posthorn.checkpoint c WHERE c.pipeline = reshard.pipeline;
    IF goal.tick IS NOT NULL THEN
        INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, epoch, timeline, snapshot,
                                         base_snapshot, start_snapshot, sink_tick, sink_position)
        SELECT reshard.pipeline, n, goal.tick,
               (SELECT greatest(goal.position, max(p.position)) FROM posthorn.parked p
                 WHERE p.pipeline = reshard.pipeline AND p.tick = goal.tick),
               newest + 1, goal.timeline, goal.snapshot, goal.snapshot, goal.start_snapshot,
               void, void
          FROM generate_series(0, reshard.shards - 1) n;
    END IF;
    UPDATE posthorn.pipeline l SET shards = reshard.shards, acts = l.acts + 1
     WHERE l.pipeline = reshard.pipeline;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'reshard', reason, jsonb_build_object(
        'pipeline', pipeline, 'shardsBefore', shards_before, 'shards', shards, 'parked', parked,
        'tick', goal.tick, 'login', session_user));
END $$;
COMMENT ON FUNCTION posthorn.reshard IS
    'Gives a stopped pipeline another number of shards; what its shards have not all reached is '
    'parked, in order. Refuses while an instance owns a shard of it, and behind a crash under exactly-once';

-- 3. Erase an aggregate --------------------------------------------------------------------------

-- Rows, ids, xid and position stay, so no reader's order changes and verify finds what it found
-- before. Reads the whole log, since nothing else ever looks for an aggregate and an index would
-- cost every writer. The lock on parked comes after the log was changed: who copies a row there
-- either is seen here, or waits and copies the erased one. Not between a restore and adopt(), which
-- would take the new rows for what was written since.
CREATE OR REPLACE FUNCTION posthorn.erase(aggregate_type text, aggregate_id text, who text,
                                          reason text DEFAULT NULL, OUT events bigint, OUT copies bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    mark       constant jsonb := '{"erased": true}';
    mark_bytes constant bytea := convert_to('{"erased": true}', 'UTF8');
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn.erase: the transaction must be READ COMMITTED';
    ELSIF (aggregate_type <> '' AND aggregate_id <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.erase: aggregate_type and aggregate_id must not be empty';
    END IF;
    PERFORM posthorn.refuse_foreign_log();
    UPDATE posthorn.outbox o
       SET headers = '{}', payload = CASE WHEN o.payload IS NOT NULL THEN mark END,
           payload_bytes = CASE WHEN o.payload_bytes IS NOT NULL THEN mark_bytes END,
           content_type = CASE WHEN o.payload_bytes IS NOT NULL THEN 'application/json'
                               ELSE o.content_type END
     WHERE o.aggregate_type = erase.aggregate_type AND o.aggregate_id = erase.aggregate_id
       AND (o.headers <> '{}' OR o.payload <> mark OR o.payload_bytes <> mark_bytes);
    GET DIAGNOSTICS events = ROW_COUNT;
    LOCK TABLE posthorn.parked IN SHARE ROW EXCLUSIVE MODE;
    UPDATE posthorn.parked o
       SET headers = '{}', payload = CASE WHEN o.payload IS NOT NULL THEN mark END,
           payload_bytes = CASE WHEN o.payload_bytes IS NOT NULL THEN mark_bytes END,
           content_type = CASE WHEN o.payload_bytes IS NOT NULL THEN 'application/json'
                               ELSE o.content_type END
     WHERE o.aggregate_type = erase.aggregate_type AND o.aggregate_id = erase.aggregate_id
       AND (o.headers <> '{}' OR o.payload <> mark OR o.payload_bytes <> mark_bytes);
    GET DIAGNOSTICS copies = ROW_COUNT;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'erase', reason, jsonb_build_object(
        'aggregateType', aggregate_type, 'aggregateId', aggregate_id, 'events', events,
        'parkedCopies', copies, 'login', session_user));
END $$;
COMMENT ON FUNCTION posthorn.erase IS
    'Replaces payload and headers of all committed events of one aggregate, in the log and in parked; '
    'rows, ids and order stay';

-- 4. Nobody but the owner, until a person grants it -----------------------------------------------

REVOKE ALL ON FUNCTION
    posthorn.refuse_foreign_log(), posthorn.erase(text, text, text, text),
    posthorn.park_unsettled(text, int, int, bigint, bigint),
    posthorn.reshard(text, int, text, text) FROM PUBLIC;
