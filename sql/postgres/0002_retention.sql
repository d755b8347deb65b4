-- Version 2: one retention for the log, an audit table, forgetting a pipeline, erasing an aggregate,
-- and what maintain() would do. `posthorn init` runs this file behind 0001, in the same transaction
-- when both are new. Writers and readers of the log wait for nothing here; meta and lease are locked
-- for a moment.

-- 1. Retention: one value per log ---------------------------------------------------------------

-- Each pipeline keeps its wish beside its lease; the longest of those that the log knows is in force.
ALTER TABLE posthorn.lease ADD COLUMN retention interval CHECK (retention > interval '0');
COMMENT ON COLUMN posthorn.lease.retention IS 'how long this pipeline wants settled events kept';

ALTER TABLE posthorn.meta
    ADD COLUMN retention interval NOT NULL DEFAULT '7 days' CHECK (retention > interval '0');
COMMENT ON COLUMN posthorn.meta.retention IS
    'in force: the longest wish in posthorn.lease when fit_retention() last looked';
-- A ring wider than a day was made for a retention of eight widths.
UPDATE posthorn.meta m SET retention = m.ring_width_seconds * interval '8 seconds'
 WHERE m.ring_width_seconds > 86400;

-- The set_retention() of version 1 took the word of whoever came last.
DROP FUNCTION posthorn.set_retention(interval);

CREATE FUNCTION posthorn.fit_retention() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms' AS $$
DECLARE
    longest interval;
    seconds int;
    answer  text := 'unchanged';
BEGIN
    UPDATE posthorn.meta m SET retention = l.longest
      FROM (SELECT max(k.retention) AS longest FROM posthorn.lease k) l
     WHERE m.retention <> l.longest;
    IF FOUND THEN
        answer := 'changed';
    END IF;
    SELECT m.retention INTO longest FROM posthorn.meta m;
    seconds := greatest(86400, ceil(date_part('epoch', longest) / 8));
    IF NOT EXISTS (SELECT FROM posthorn.meta m WHERE m.ring_width_seconds = seconds) THEN
        BEGIN
            PERFORM posthorn.set_ring_width(seconds);
            answer := 'changed';
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            answer := 'busy'; -- the retention holds already, the width comes with the next round
        END;
    END IF;
    RETURN answer;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN 'busy';
END $$;
COMMENT ON FUNCTION posthorn.fit_retention IS
    'Puts the longest wish of all pipelines in force and fits the ring to it: a day a bucket, or an '
    'eighth of the retention if that is longer. Answers changed, unchanged or busy (try again later)';

-- 2. What the ring keeps ------------------------------------------------------------------------

-- As in version 1, and a pipeline that stands still is said to.
CREATE OR REPLACE FUNCTION posthorn.bucket_held_by(ring text, bucket int, cutoff timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last_xid  xid8;
    last_tick bigint;
    aged      record; -- the newest tick older than the retention: what it saw has aged enough
    holder    text;
BEGIN
    IF ring = 'outbox' THEN
        EXECUTE format('SELECT xid FROM ONLY posthorn.%I ORDER BY xid DESC LIMIT 1',
                       'outbox_' || bucket) INTO last_xid;
    ELSE
        EXECUTE format('SELECT tick FROM ONLY posthorn.%I ORDER BY tick DESC LIMIT 1',
                       'tick_' || bucket) INTO last_tick;
    END IF;
    IF last_xid IS NULL AND last_tick IS NULL THEN
        RETURN 'empty';
    END IF;

    SELECT t.tick, pg_snapshot_xmin(t.snapshot) AS xmin, pg_snapshot_xmax(t.snapshot) AS xmax INTO aged
      FROM posthorn.tick t WHERE t.made_at < cutoff ORDER BY t.made_at DESC LIMIT 1;
    IF NOT FOUND OR last_xid >= aged.xmax OR last_tick >= aged.tick THEN
        RETURN 'the retention';
    ELSIF last_xid >= aged.xmin THEN
        RETURN format('transaction %s, open at the last tick before the retention', aged.xmin);
    END IF;

    SELECT format('pipeline %s, shard %s', c.pipeline, c.shard)
           || CASE WHEN c.updated_at < clock_timestamp() - interval '1 hour'
                   THEN to_char(c.updated_at AT TIME ZONE 'UTC',
                                '", which has stood still since "YYYY-MM-DD HH24:MI:SS" UTC"')
                   ELSE '' END INTO holder
      FROM posthorn.checkpoint c, LATERAL (SELECT c.base_snapshot::pg_snapshot) b (base)
     WHERE last_xid >= pg_snapshot_xmin(base) OR last_tick >= c.tick
        OR pg_snapshot_xmax(base) > pg_snapshot_xmax(pg_current_snapshot())
     ORDER BY pg_snapshot_xmin(base) LIMIT 1;
    RETURN holder;
END $$;
COMMENT ON FUNCTION posthorn.bucket_held_by IS
    'Why a bucket stays; NULL when all of it is settled and older than cutoff';

-- As in version 1; without an argument, the retention in force.
CREATE OR REPLACE FUNCTION posthorn.maintain(retention interval DEFAULT NULL)
RETURNS TABLE (bucket smallint, action text, reason text, ring text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms' AS $$
DECLARE
    cutoff  timestamptz;
    current_bucket smallint;
    waiting text := ''; -- NOWAIT once a lock is held
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING MESSAGE = 'posthorn.maintain: the transaction must be '
            'READ COMMITTED, since the check under the lock needs a new snapshot';
    ELSIF retention < interval '0' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.maintain: retention is negative';
    END IF;
    PERFORM posthorn.refuse_foreign_log();
    IF NOT pg_try_advisory_xact_lock(8101821129752310383) THEN
        RETURN QUERY SELECT NULL::smallint, 'busy', 'another maintain() is running', NULL;
        RETURN;
    END IF;
    SELECT date_part('epoch', clock_timestamp())::bigint / m.ring_width_seconds % 10,
           clock_timestamp() - coalesce(maintain.retention, m.retention)
      INTO current_bucket, cutoff FROM posthorn.meta m;

    FOR ring, bucket IN SELECT r, b FROM unnest(ARRAY['outbox', 'tick']) r, generate_series(0, 9) b LOOP
        reason := CASE WHEN bucket = current_bucket THEN 'the current bucket'
                       ELSE posthorn.bucket_held_by(ring, bucket, cutoff) END;
        action := CASE WHEN reason = 'empty' THEN 'empty' ELSE 'kept' END;
        IF reason IS NULL THEN
            BEGIN
                EXECUTE format('LOCK TABLE ONLY posthorn.%I IN ACCESS EXCLUSIVE MODE %s',
                               ring || '_' || bucket, waiting);
                reason := posthorn.bucket_held_by(ring, bucket, cutoff);
                IF reason IS NOT NULL THEN -- as an error, so that the lock is let go at once
                    RAISE lock_not_available USING MESSAGE = format('held meanwhile by %s', reason);
                END IF;
                EXECUTE format('TRUNCATE TABLE ONLY posthorn.%I', ring || '_' || bucket);
                action := 'cleared';
                reason := 'settled';
                waiting := 'NOWAIT';
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                action := 'busy';
                reason := SQLERRM;
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION posthorn.maintain IS
    'Truncates settled buckets older than the retention (the one in force when NULL); says of each '
    'bucket what was done and why';

-- Runs in a read-only transaction; locks nothing that a writer, a reader or maintain() waits for.
CREATE FUNCTION posthorn.maintain_plan(retention interval DEFAULT NULL)
RETURNS TABLE (bucket smallint, action text, reason text, ring text, events bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cutoff timestamptz;
    current_bucket smallint;
BEGIN
    IF retention < interval '0' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.maintain_plan: retention is negative';
    END IF;
    PERFORM posthorn.refuse_foreign_log();
    SELECT date_part('epoch', clock_timestamp())::bigint / m.ring_width_seconds % 10,
           clock_timestamp() - coalesce(maintain_plan.retention, m.retention)
      INTO current_bucket, cutoff FROM posthorn.meta m;
    FOR ring, bucket IN SELECT r, b FROM unnest(ARRAY['outbox', 'tick']) r, generate_series(0, 9) b LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM ONLY posthorn.%I LIMIT 100001) counted',
                       ring || '_' || bucket) INTO events;
        IF events > 100000 THEN
            SELECT greatest(events, k.reltuples::bigint, pg_stat_get_live_tuples(k.oid)) INTO events
              FROM pg_class k
             WHERE k.relnamespace = 'posthorn'::regnamespace AND k.relname = ring || '_' || bucket;
        END IF;
        reason := CASE WHEN events = 0 THEN 'empty'
                       WHEN bucket = current_bucket THEN 'the current bucket'
                       ELSE posthorn.bucket_held_by(ring, bucket, cutoff) END;
        action := CASE WHEN reason = 'empty' THEN 'empty' WHEN reason IS NULL THEN 'clear' ELSE 'kept' END;
        reason := coalesce(reason, 'settled');
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION posthorn.maintain_plan IS
    'What maintain() would do now, and about how many rows each bucket has (exact to 100,000)';

-- 3. The audit ----------------------------------------------------------------------------------

CREATE TABLE posthorn.audit (
    at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    who    text        NOT NULL CHECK (who <> ''),
    act    text        NOT NULL CHECK (act <> ''),
    reason text,
    detail jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_forgotten ON posthorn.audit ((detail->>'pipeline')) WHERE act = 'forget';
COMMENT ON TABLE posthorn.audit IS 'Who did what to the log, and why; rows are only added';

CREATE FUNCTION posthorn.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('posthorn.%s: rows are only added, not changed or removed', TG_TABLE_NAME);
END $$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON posthorn.audit
   FOR EACH STATEMENT EXECUTE FUNCTION posthorn.refuse_change();

-- 4. Forget a pipeline --------------------------------------------------------------------------

-- Leases are locked first, for the moment that this takes: an instance that comes meanwhile waits, and
-- then begins anew with an epoch above the old ones, which the audit keeps.
CREATE FUNCTION posthorn.forget(pipeline text, who text, reason text DEFAULT NULL,
                                discard_parked boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held      record;
    last      record;
    waiting   bigint;
    discarded bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn.forget: the transaction must be READ COMMITTED';
    END IF;
    LOCK TABLE posthorn.lease IN SHARE ROW EXCLUSIVE MODE;
    SELECT l.owner, l.expires_at INTO held FROM posthorn.lease l
     WHERE l.pipeline = forget.pipeline AND l.expires_at > clock_timestamp() ORDER BY l.shard LIMIT 1;
    IF FOUND THEN
        RAISE object_in_use USING MESSAGE = format(
            'pipeline %s is owned by %s until %s: stop that posthorn, or take the pipeline out of its '
            'configuration and reload it, then forget', pipeline, held.owner,
            to_char(held.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
    END IF;
    SELECT count(*) INTO waiting FROM posthorn.parked p
     WHERE p.pipeline = forget.pipeline AND p.state IN ('parked', 'dead');
    IF waiting > 0 AND discard_parked IS NOT TRUE THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %s has %s parked or dead events, which forgetting would lose: settle them, or '
            'allow it with discard_parked (posthorn forget --discard-parked)', pipeline, waiting);
    END IF;

    SELECT count(*) AS known, max(k.epoch) AS epoch INTO last FROM (
        SELECT l.epoch FROM posthorn.lease l WHERE l.pipeline = forget.pipeline UNION ALL
        SELECT c.epoch FROM posthorn.checkpoint c WHERE c.pipeline = forget.pipeline) k;
    DELETE FROM posthorn.parked p WHERE p.pipeline = forget.pipeline;
    GET DIAGNOSTICS discarded = ROW_COUNT;
    IF last.known + discarded = 0 THEN
        RETURN false;
    END IF;
    DELETE FROM posthorn.checkpoint c WHERE c.pipeline = forget.pipeline;
    DELETE FROM posthorn.lease l WHERE l.pipeline = forget.pipeline;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'forget', reason, jsonb_build_object(
        'pipeline', pipeline, 'epoch', coalesce(last.epoch, 0), 'parked', waiting,
        'parkedRowsRemoved', discarded, 'login', session_user));
    PERFORM posthorn.fit_retention();
    RETURN true;
END $$;
COMMENT ON FUNCTION posthorn.forget IS
    'Removes a pipeline''s checkpoints, leases and parked rows, so that it holds nothing back; false '
    'when there is none. Refuses while an instance owns it, and while it has parked or dead events '
    'unless discard_parked';

COMMENT ON TABLE posthorn.outbox IS
    'One row an event, inserted in the application''s own transaction; updated by erase() alone. '
    'payload and payload_bytes both NULL = tombstone';

-- 5. Nobody but the owner, until roles.sql or a person grants it --------------------------------

REVOKE ALL ON FUNCTION
    posthorn.fit_retention(), posthorn.maintain_plan(interval), posthorn.refuse_change(),
    posthorn.forget(text, text, text, boolean) FROM PUBLIC;
