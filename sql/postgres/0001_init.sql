-- Posthorn's log in PostgreSQL (14 to 18, UTF8): tables, the functions of writers and of the relay,
-- and the views of people. `posthorn init` runs this file as one transaction; it holds no BEGIN and
-- no COMMIT, and by hand it is `psql -1 -v ON_ERROR_STOP=1 -f 0001_init.sql`.
-- What it promises, and which lock means what, is in README.md beside it.

CREATE SCHEMA posthorn;
COMMENT ON SCHEMA posthorn IS 'Posthorn: transactional outbox, its ticks and the readers'' checkpoints';

-- 1. Which database this is ---------------------------------------------------------------------

-- Stored xids mean something in this cluster and this database only; after a dump and restore the
-- row says so, and the relay and maintain() refuse.
CREATE TABLE posthorn.meta (
    singleton          boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version     int         NOT NULL,
    ring_width_seconds int         NOT NULL CHECK (ring_width_seconds > 0),
    system_identifier  bigint      NOT NULL,
    database_oid       oid         NOT NULL,
    installed_at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

INSERT INTO posthorn.meta (schema_version, ring_width_seconds, system_identifier, database_oid)
SELECT 1, 86400, c.system_identifier, d.oid
  FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database();

-- 2. The log ------------------------------------------------------------------------------------

-- Insert-only. Wide fixed columns first, so that no row pays for alignment. The ring: ten partitions
-- made once; a row's bucket is the time of its insert; settled buckets are truncated by maintain().
-- No CHECK: PostgreSQL prepares its expression anew for each statement, 3.3 us on an insert of 34.
-- publish() asks instead; what a raw INSERT gets wrong (headers that are no object, two payloads, an
-- empty aggregate_id) the reader refuses.
CREATE TABLE posthorn.outbox (
    xid            xid8        NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    position       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    created_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    event_id       uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    bucket         smallint    NOT NULL DEFAULT
        (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::bigint / 86400 % 10)::smallint,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    event_type     text        NOT NULL,
    headers        jsonb       NOT NULL DEFAULT '{}',
    payload        jsonb,
    payload_bytes  bytea,
    content_type   text,
    deliver_after  timestamptz
) PARTITION BY LIST (bucket);

CREATE TABLE posthorn.outbox_0 PARTITION OF posthorn.outbox FOR VALUES IN (0);
CREATE TABLE posthorn.outbox_1 PARTITION OF posthorn.outbox FOR VALUES IN (1);
CREATE TABLE posthorn.outbox_2 PARTITION OF posthorn.outbox FOR VALUES IN (2);
CREATE TABLE posthorn.outbox_3 PARTITION OF posthorn.outbox FOR VALUES IN (3);
CREATE TABLE posthorn.outbox_4 PARTITION OF posthorn.outbox FOR VALUES IN (4);
CREATE TABLE posthorn.outbox_5 PARTITION OF posthorn.outbox FOR VALUES IN (5);
CREATE TABLE posthorn.outbox_6 PARTITION OF posthorn.outbox FOR VALUES IN (6);
CREATE TABLE posthorn.outbox_7 PARTITION OF posthorn.outbox FOR VALUES IN (7);
CREATE TABLE posthorn.outbox_8 PARTITION OF posthorn.outbox FOR VALUES IN (8);
CREATE TABLE posthorn.outbox_9 PARTITION OF posthorn.outbox FOR VALUES IN (9);
CREATE INDEX outbox_xid_position ON posthorn.outbox (xid, position);
CREATE INDEX outbox_position ON posthorn.outbox (position);

COMMENT ON TABLE posthorn.outbox IS
    'One row an event, inserted in the application''s own transaction; never updated. '
    'payload and payload_bytes both NULL = tombstone';

-- Insert-only, made by make_tick() alone; made_at rises with tick.
CREATE TABLE posthorn.tick (
    tick     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    made_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    bucket   smallint    NOT NULL DEFAULT
        (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::bigint / 86400 % 10)::smallint,
    snapshot pg_snapshot NOT NULL
) PARTITION BY LIST (bucket);

CREATE TABLE posthorn.tick_0 PARTITION OF posthorn.tick FOR VALUES IN (0);
CREATE TABLE posthorn.tick_1 PARTITION OF posthorn.tick FOR VALUES IN (1);
CREATE TABLE posthorn.tick_2 PARTITION OF posthorn.tick FOR VALUES IN (2);
CREATE TABLE posthorn.tick_3 PARTITION OF posthorn.tick FOR VALUES IN (3);
CREATE TABLE posthorn.tick_4 PARTITION OF posthorn.tick FOR VALUES IN (4);
CREATE TABLE posthorn.tick_5 PARTITION OF posthorn.tick FOR VALUES IN (5);
CREATE TABLE posthorn.tick_6 PARTITION OF posthorn.tick FOR VALUES IN (6);
CREATE TABLE posthorn.tick_7 PARTITION OF posthorn.tick FOR VALUES IN (7);
CREATE TABLE posthorn.tick_8 PARTITION OF posthorn.tick FOR VALUES IN (8);
CREATE TABLE posthorn.tick_9 PARTITION OF posthorn.tick FOR VALUES IN (9);
CREATE INDEX tick_tick ON posthorn.tick (tick);
CREATE INDEX tick_made_at ON posthorn.tick (made_at);

COMMENT ON TABLE posthorn.tick IS
    'A stored pg_snapshot; what became visible between two ticks is the same for every reader';

-- 3. The readers --------------------------------------------------------------------------------

-- Updated up to ten times a second: no index but the key, half of each page free, so updates stay HOT.
CREATE TABLE posthorn.checkpoint (
    pipeline       text        NOT NULL CHECK (pipeline <> ''),
    shard          int         NOT NULL DEFAULT 0 CHECK (shard >= 0),
    tick           bigint      NOT NULL,
    position       bigint      NOT NULL,
    epoch          bigint      NOT NULL DEFAULT 0,
    timeline       int         NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    snapshot       text        NOT NULL CHECK (snapshot::pg_snapshot IS NOT NULL),
    base_snapshot  text        NOT NULL CHECK (base_snapshot::pg_snapshot IS NOT NULL),
    start_snapshot text        NOT NULL CHECK (start_snapshot::pg_snapshot IS NOT NULL),
    PRIMARY KEY (pipeline, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500,
        autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
        toast.autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN posthorn.checkpoint.snapshot IS 'the pg_snapshot of tick';
COMMENT ON COLUMN posthorn.checkpoint.base_snapshot IS
    'everything visible in it is settled; equal to snapshot once the tick is settled completely';
COMMENT ON COLUMN posthorn.checkpoint.start_snapshot IS 'where the pipeline began';

CREATE TABLE posthorn.lease (
    pipeline      text        NOT NULL CHECK (pipeline <> ''),
    shard         int         NOT NULL DEFAULT 0 CHECK (shard >= 0),
    epoch         bigint      NOT NULL,
    expires_at    timestamptz NOT NULL,
    last_error_at timestamptz,
    owner         text        NOT NULL,
    last_error    text,
    PRIMARY KEY (pipeline, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);

-- An event that left the flow, with all that is needed to send or show it after its row is gone.
CREATE TABLE posthorn.parked (
    pipeline        text        NOT NULL,
    shard           int         NOT NULL DEFAULT 0,
    tick            bigint      NOT NULL,
    position        bigint      NOT NULL,
    key             text,
    state           text        NOT NULL
        CHECK (state IN ('parked', 'dead', 'sent', 'discarded', 'skipped')),
    attempts        int         NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    first_failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    last_error      text,
    xid             xid8        NOT NULL,
    created_at      timestamptz NOT NULL,
    event_id        uuid        NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    text        NOT NULL,
    event_type      text        NOT NULL,
    headers         jsonb       NOT NULL DEFAULT '{}',
    payload         jsonb,
    payload_bytes   bytea,
    content_type    text,
    deliver_after   timestamptz,
    UNIQUE (pipeline, shard, position)
);

-- 4. For writers --------------------------------------------------------------------------------

-- Runs with the caller's rights and names no column but the public ones. The comparisons are the
-- only operators, and a caller who replaces them harms itself alone, so there is no SET (it costs).
CREATE FUNCTION posthorn.publish(
    aggregate_type text, aggregate_id text, event_type text, payload jsonb,
    headers jsonb DEFAULT '{}', event_id uuid DEFAULT NULL, deliver_after timestamptz DEFAULT NULL,
    strict boolean DEFAULT false, payload_bytes bytea DEFAULT NULL, content_type text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
#variable_conflict use_variable
BEGIN
    IF (aggregate_type <> '' AND aggregate_id <> '' AND event_type <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format('posthorn.publish: %s must not be empty', CASE
                WHEN (aggregate_type <> '') IS NOT TRUE THEN 'aggregate_type'
                WHEN (aggregate_id <> '') IS NOT TRUE THEN 'aggregate_id'
                ELSE 'event_type' END);
    ELSIF payload IS NOT NULL AND payload_bytes IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.publish: give payload or payload_bytes, not both';
    ELSIF pg_catalog.jsonb_typeof(headers) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.publish: headers must be a JSON object';
    ELSIF deliver_after IS NOT NULL THEN
        RAISE feature_not_supported USING
            MESSAGE = 'posthorn.publish: deliver_after comes with a later version; leave it NULL';
    END IF;
    IF publish.strict THEN
        -- Before the position is drawn, held to the end: the order of positions is that of commits.
        PERFORM pg_catalog.pg_advisory_xact_lock(1886352244, pg_catalog.hashtext(aggregate_id) & 4095);
    END IF;
    event_id := COALESCE(event_id, pg_catalog.gen_random_uuid());
    INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers,
                                 payload, payload_bytes, content_type)
    VALUES (event_id, aggregate_type, aggregate_id, event_type, COALESCE(headers, '{}'),
            payload, payload_bytes, content_type);
    RETURN event_id;
END $$;
COMMENT ON FUNCTION posthorn.publish IS
    'Adds one event to the outbox in the caller''s transaction and returns its id; a NULL payload is '
    'a tombstone; strict orders events of one aggregate_id when nothing else locks the aggregate';

-- 5. For the relay ------------------------------------------------------------------------------

CREATE FUNCTION posthorn.timeline() RETURNS int LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
$$;
COMMENT ON FUNCTION posthorn.timeline IS
    'The timeline written now, NULL on a standby (the control file lags behind after a promotion)';

CREATE FUNCTION posthorn.identity(
    OUT system_identifier bigint, OUT database_oid oid, OUT timeline int, OUT in_recovery boolean,
    OUT schema_version int, OUT future_rows bigint, OUT server_encoding text,
    OUT installed_system_identifier bigint, OUT installed_database_oid oid)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.system_identifier, d.oid, posthorn.timeline(), pg_is_in_recovery(), m.schema_version,
           (SELECT count(*) FROM (SELECT FROM posthorn.outbox o
                                   WHERE o.xid >= pg_snapshot_xmax(pg_current_snapshot())
                                     AND o.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()
                                   LIMIT 100000) beyond),
           current_setting('server_encoding'), m.system_identifier, m.database_oid
      FROM pg_control_system() c, pg_database d, posthorn.meta m
     WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION posthorn.identity IS
    'Which database this is and which one the log was made in; future_rows (counted to 100,000) have '
    'an xid that this cluster has not given yet: a restored dump';

-- A tick is the snapshot of the statement after the lock, taken before this transaction has an xid of
-- its own: its xid is at or above the tick's xmax, so what it writes later lands in a later tick.
-- A tick that is found instead is flushed too, since commits become visible after their flush.
CREATE FUNCTION posthorn.make_tick(known bigint) RETURNS TABLE (tick bigint, snapshot text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE read_only_sql_transaction USING
            MESSAGE = 'posthorn.make_tick: this is a standby, whose snapshots list no open transactions';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn.make_tick: the transaction must be READ COMMITTED';
    ELSIF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'posthorn.make_tick: this transaction has already written something; '
                      'a tick needs a transaction of its own';
    END IF;
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true); -- holds at the commit, not here alone
    END IF;
    PERFORM pg_advisory_xact_lock(8101821129752310382);
    RETURN QUERY SELECT t.tick, t.snapshot::text FROM posthorn.tick t
                  WHERE t.tick > known ORDER BY t.tick DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN QUERY INSERT INTO posthorn.tick AS t (snapshot) VALUES (pg_current_snapshot())
                     RETURNING t.tick, t.snapshot::text;
    END IF;
END $$;
COMMENT ON FUNCTION posthorn.make_tick IS
    'The newest tick above known, made now if there is none';

-- 6. The ring -----------------------------------------------------------------------------------

CREATE FUNCTION posthorn.set_ring_width(seconds int) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms' AS $$
DECLARE
    ring constant text := format(
        '(date_part(''epoch'', clock_timestamp())::bigint / %s %% 10)::smallint', seconds);
BEGIN
    UPDATE posthorn.meta m SET ring_width_seconds = seconds;
    EXECUTE 'ALTER TABLE ONLY posthorn.outbox ALTER COLUMN bucket SET DEFAULT ' || ring;
    EXECUTE 'ALTER TABLE ONLY posthorn.tick ALTER COLUMN bucket SET DEFAULT ' || ring;
END $$;
COMMENT ON FUNCTION posthorn.set_ring_width IS
    'Sets how many seconds of events share a bucket; locks the parent tables for a moment';

CREATE FUNCTION posthorn.set_retention(retention interval) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seconds constant int := greatest(86400, ceil(date_part('epoch', retention) / 8));
BEGIN
    IF EXISTS (SELECT FROM posthorn.meta m WHERE m.ring_width_seconds = seconds) THEN
        RETURN 'unchanged';
    END IF;
    PERFORM posthorn.set_ring_width(seconds);
    RETURN 'changed';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN 'busy';
END $$;
COMMENT ON FUNCTION posthorn.set_retention IS
    'Fits the ring to a retention: a day a bucket, or an eighth of the retention if that is longer. '
    'Answers changed, unchanged or busy (try again later); maintain() never locks the parents';

-- Why a bucket stays; NULL when all of it is settled. It asks anew at each call, so maintain() calls
-- it once without and once under the lock; each statement of it must see a new snapshot.
CREATE FUNCTION posthorn.bucket_held_by(ring text, bucket int, cutoff timestamptz) RETURNS text
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

    SELECT format('pipeline %s, shard %s', c.pipeline, c.shard) INTO holder
      FROM posthorn.checkpoint c, LATERAL (SELECT c.base_snapshot::pg_snapshot) b (base)
     WHERE last_xid >= pg_snapshot_xmin(base) OR last_tick >= c.tick
        OR pg_snapshot_xmax(base) > pg_snapshot_xmax(pg_current_snapshot())
     ORDER BY pg_snapshot_xmin(base) LIMIT 1;
    RETURN holder;
END $$;

-- Truncates the buckets in which everything is settled. Promise: an event is gone only if its
-- transaction was finished in a tick older than the retention and in every checkpoint's
-- base_snapshot. Locks one partition at a time, never the parent, and never waits while it holds one.
CREATE FUNCTION posthorn.maintain(retention interval DEFAULT '7 days')
RETURNS TABLE (bucket smallint, action text, reason text, ring text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms' AS $$
DECLARE
    cutoff  constant timestamptz := clock_timestamp() - retention;
    current_bucket smallint;
    waiting text := ''; -- NOWAIT once a lock is held
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING MESSAGE = 'posthorn.maintain: the transaction must be '
            'READ COMMITTED, since the check under the lock needs a new snapshot';
    ELSIF pg_is_in_recovery() THEN
        RAISE read_only_sql_transaction USING MESSAGE = 'posthorn.maintain: this is a standby';
    ELSIF retention < interval '0' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.maintain: retention is negative';
    ELSIF NOT EXISTS (SELECT FROM posthorn.identity() i
                       WHERE i.system_identifier = i.installed_system_identifier
                         AND i.database_oid = i.installed_database_oid AND i.future_rows = 0) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'posthorn.maintain: this log was made '
            'in another database, so its xids mean nothing here';
    ELSIF NOT pg_try_advisory_xact_lock(8101821129752310383) THEN
        RETURN QUERY SELECT NULL::smallint, 'busy', 'another maintain() is running', NULL;
        RETURN;
    END IF;
    SELECT date_part('epoch', clock_timestamp())::bigint / m.ring_width_seconds % 10
      INTO current_bucket FROM posthorn.meta m;

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
    'Truncates settled buckets older than the retention; says of each bucket what was done and why';

-- 7. For people ---------------------------------------------------------------------------------

-- Two branches instead of one OR, both bounded on both sides though an upper bound excludes nothing and
-- an equality would do, and OFFSET 0: so each is a range of the (xid, position) index, whatever the
-- planner believes of the settled log behind it.
CREATE VIEW posthorn.pending AS
SELECT c.pipeline, c.shard,
       CASE WHEN pg_catalog.pg_visible_in_snapshot(e.xid, c.snapshot::pg_snapshot) THEN c.tick END AS tick,
       e.position, e.event_id, e.aggregate_type, e.aggregate_id, e.event_type, e.created_at,
       pg_catalog.clock_timestamp() - e.created_at AS age
  FROM posthorn.checkpoint c
 CROSS JOIN LATERAL (
        (SELECT o.* FROM posthorn.outbox o
          WHERE o.xid >= pg_catalog.pg_snapshot_xmax(c.base_snapshot::pg_snapshot)
            AND o.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) OFFSET 0)
        UNION ALL
        SELECT o.* FROM pg_catalog.pg_snapshot_xip(c.base_snapshot::pg_snapshot) AS was_open (xid)
         CROSS JOIN LATERAL (SELECT * FROM posthorn.outbox
                              WHERE xid >= was_open.xid AND xid <= was_open.xid OFFSET 0) o) e
 WHERE NOT (e.position <= c.position
            AND pg_catalog.pg_visible_in_snapshot(e.xid, c.snapshot::pg_snapshot));
COMMENT ON VIEW posthorn.pending IS
    'Per pipeline: committed events that it has not settled; tick is known where it has been begun';

CREATE VIEW posthorn.outbox_status AS
WITH part AS (
    SELECT pg_catalog.pg_relation_size(k.oid) AS bytes, pg_catalog.pg_total_relation_size(k.oid) AS total,
           CASE WHEN k.reltuples > 0 AND k.relpages > 0
                THEN k.reltuples / k.relpages * (pg_catalog.pg_relation_size(k.oid)
                     / pg_catalog.current_setting('block_size')::bigint)
                ELSE pg_catalog.pg_stat_get_live_tuples(k.oid) END AS live
      FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
     WHERE i.inhparent = 'posthorn.outbox'::pg_catalog.regclass)
SELECT (SELECT pg_catalog.sum(p.live)::bigint FROM part p) AS rows_estimate,
       (SELECT pg_catalog.sum(p.total)::bigint FROM part p) AS bytes,
       (SELECT pg_catalog.count(*)::int FROM part p WHERE p.bytes > 0) AS buckets_in_use,
       oldest.bucket AS oldest_bucket, oldest.created_at AS oldest_event_at,
       (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::bigint
        / m.ring_width_seconds % 10)::smallint AS current_bucket, m.ring_width_seconds,
       newest.tick AS newest_tick, newest.made_at AS newest_tick_at,
       pg_catalog.clock_timestamp() - newest.made_at AS newest_tick_age,
       pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS oldest_open_xid,
       (SELECT pg_catalog.clock_timestamp() - pg_catalog.min(a.xact_start)
          FROM pg_catalog.pg_stat_activity a WHERE a.pid <> pg_catalog.pg_backend_pid()
           AND a.backend_type = 'client backend') AS oldest_transaction_age,
       (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_prepared_xacts) AS prepared_transactions,
       (SELECT pg_catalog.clock_timestamp() - pg_catalog.min(x.prepared)
          FROM pg_catalog.pg_prepared_xacts x) AS oldest_prepared_age
  FROM posthorn.meta m
  LEFT JOIN LATERAL (SELECT o.bucket, o.created_at FROM posthorn.outbox o
                      ORDER BY o.xid, o.position LIMIT 1) oldest ON true
  LEFT JOIN LATERAL (SELECT t.tick, t.made_at FROM posthorn.tick t
                      ORDER BY t.tick DESC LIMIT 1) newest ON true;
COMMENT ON VIEW posthorn.outbox_status IS
    'One row on the log''s health; oldest_transaction_age is NULL without pg_read_all_stats';

-- 8. Nobody but the owner, until roles.sql or a person grants it --------------------------------

REVOKE ALL ON FUNCTION
    posthorn.make_tick(bigint), posthorn.maintain(interval), posthorn.set_retention(interval),
    posthorn.set_ring_width(int), posthorn.bucket_held_by(text, int, timestamptz),
    posthorn.identity(), posthorn.timeline() FROM PUBLIC;
