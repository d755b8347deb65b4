-- Version 4: what people do with events that left the flow (redrive, discard), with pipelines (pause,
-- resume), and the views of what they ask. `posthorn init` runs this file behind 0003.
-- Adds functions and views alone; no table is locked.

-- 1. Parts of the acts --------------------------------------------------------------------------

-- Who changes parked rows holds the row of their pipeline, as the relay does. Statements behind a call
-- see what was committed before it answered.
CREATE FUNCTION posthorn.lock_pipelines(pipeline text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'posthorn: the transaction must be READ COMMITTED, since what follows a lock '
                      'needs a new snapshot';
    END IF;
    PERFORM FROM posthorn.pipeline l WHERE l.pipeline = coalesce(lock_pipelines.pipeline, l.pipeline)
      ORDER BY l.pipeline FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked = 0 AND lock_pipelines.pipeline IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the log knows no pipeline %s', lock_pipelines.pipeline);
    END IF;
    RETURN locked;
END $$;
COMMENT ON FUNCTION posthorn.lock_pipelines IS
    'Locks the row of a pipeline, or of all; refuses one that is unknown';

-- The head of each queue has a time for its next attempt, nobody else who is parked. Without loops:
-- rows that came a moment ago are in no statistics, and 100,000 of one key would be looked at squared.
CREATE FUNCTION posthorn.mend_queues(pipeline text, moment timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off AS $$
DECLARE
    mended bigint;
BEGIN
    UPDATE posthorn.parked p
       SET next_attempt_at = CASE WHEN q.place = 1 THEN moment END
      FROM (SELECT k.pipeline, k.shard, k.position, row_number() OVER (
                       PARTITION BY k.pipeline, k.shard, k.key
                           ORDER BY k.queue_tick, k.queue_position, k.deliver_after NULLS FIRST,
                                    k.position) AS place
              FROM posthorn.parked k
             WHERE k.pipeline = coalesce(mend_queues.pipeline, k.pipeline) AND k.key IS NOT NULL
               AND (k.state = 'parked' OR k.state = 'dead' AND NOT k.passed)) q
     WHERE p.pipeline = q.pipeline AND p.shard = q.shard AND p.position = q.position
       AND p.state = 'parked' AND (p.next_attempt_at IS NULL) = (q.place = 1);
    GET DIAGNOSTICS mended = ROW_COUNT;
    RETURN mended;
END $$;
COMMENT ON FUNCTION posthorn.mend_queues IS
    'Gives each queue''s head its time and takes it from the others; a head that has one keeps it';

-- The rows that a person means. NULL is any; the functions below judge the states. No SET, so that
-- the planner looks into it; a caller who replaces operators harms itself alone.
CREATE FUNCTION posthorn.parked_matching(
    pipeline text, event_type text, key text, since timestamptz, error_like text, event_id uuid)
RETURNS SETOF posthorn.parked LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT p.* FROM posthorn.parked p
     WHERE (parked_matching.pipeline IS NULL OR p.pipeline = parked_matching.pipeline)
       AND (parked_matching.event_type IS NULL OR p.event_type = parked_matching.event_type)
       AND (parked_matching.key IS NULL OR p.key = parked_matching.key)
       AND (parked_matching.since IS NULL OR p.first_failed_at >= parked_matching.since)
       AND (parked_matching.error_like IS NULL OR p.last_error ILIKE parked_matching.error_like)
       AND (parked_matching.event_id IS NULL OR p.event_id = parked_matching.event_id)
$$;
COMMENT ON FUNCTION posthorn.parked_matching IS
    'Rows beside the log by pipeline, event type, key, the time of the first failure, a pattern of the '
    'error and the event''s id';

-- 2. Redrive and discard ------------------------------------------------------------------------

CREATE FUNCTION posthorn.redrive(
    pipeline text, who text, reason text DEFAULT NULL, event_type text DEFAULT NULL,
    key text DEFAULT NULL, since timestamptz DEFAULT NULL, error_like text DEFAULT NULL,
    event_id uuid DEFAULT NULL, rate numeric DEFAULT NULL, dry_run boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off AS $$
DECLARE
    moment constant timestamptz := clock_timestamp();
    apart  constant interval := coalesce(interval '1 second' / nullif(rate, 0)::float8, interval '0');
    events bigint;
BEGIN
    IF (who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.redrive: who must not be empty';
    ELSIF rate <= 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.redrive: rate must be above 0';
    END IF;
    IF dry_run IS NOT FALSE THEN
        RETURN (SELECT count(*) FROM posthorn.parked_matching(
                    redrive.pipeline, redrive.event_type, redrive.key, redrive.since,
                    redrive.error_like, redrive.event_id) m WHERE m.state = 'dead');
    END IF;
    PERFORM posthorn.lock_pipelines(pipeline);
    WITH chosen AS (
        SELECT m.pipeline, m.shard, m.position,
               row_number() OVER (ORDER BY m.tick, m.position, m.pipeline) - 1 AS place
          FROM posthorn.parked_matching(
                    redrive.pipeline, redrive.event_type, redrive.key, redrive.since,
                    redrive.error_like, redrive.event_id) m
         WHERE m.state = 'dead'),
    redriven AS (
        UPDATE posthorn.parked p
           SET state = 'parked', attempts = 0, redriven_at = moment, gap_due = false,
               next_attempt_at = moment + c.place * apart
          FROM chosen c
         WHERE p.pipeline = c.pipeline AND p.shard = c.shard AND p.position = c.position
        RETURNING p.pipeline),
    acted AS (
        UPDATE posthorn.pipeline l SET acts = l.acts + 1
         WHERE l.pipeline IN (SELECT r.pipeline FROM redriven r))
    SELECT count(*) INTO events FROM redriven;
    IF events > 0 THEN
        PERFORM posthorn.mend_queues(pipeline, moment);
        INSERT INTO posthorn.audit (who, act, reason, detail)
        VALUES (who, 'redrive', reason, jsonb_strip_nulls(jsonb_build_object(
            'pipeline', pipeline, 'eventType', event_type, 'key', key, 'since', since,
            'errorLike', error_like, 'eventId', event_id, 'rate', rate, 'events', events,
            'login', session_user)));
    END IF;
    RETURN events;
END $$;
COMMENT ON FUNCTION posthorn.redrive IS
    'Makes dead events parked again, their attempts 0: the heads of their keys'' queues are tried at '
    'once, or with a rate so many a second. Returns how many; dry_run: how many it would be';

CREATE FUNCTION posthorn.discard(
    pipeline text, who text, reason text DEFAULT NULL, event_type text DEFAULT NULL,
    key text DEFAULT NULL, since timestamptz DEFAULT NULL, error_like text DEFAULT NULL,
    event_id uuid DEFAULT NULL, dry_run boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off SET jit = off AS $$
DECLARE
    events bigint;
BEGIN
    IF (who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'posthorn.discard: who must not be empty';
    END IF;
    IF dry_run IS NOT FALSE THEN
        RETURN (SELECT count(*) FROM posthorn.parked_matching(
                    discard.pipeline, discard.event_type, discard.key, discard.since,
                    discard.error_like, discard.event_id) m
                 WHERE m.state = 'dead' OR (discard.event_id IS NOT NULL AND m.state = 'parked'
                                            AND m.next_attempt_at IS NOT NULL));
    END IF;
    PERFORM posthorn.lock_pipelines(pipeline);
    WITH discarded AS (
        UPDATE posthorn.parked p SET state = 'discarded', next_attempt_at = NULL
          FROM posthorn.parked_matching(
                    discard.pipeline, discard.event_type, discard.key, discard.since,
                    discard.error_like, discard.event_id) m
         WHERE p.pipeline = m.pipeline AND p.shard = m.shard AND p.position = m.position
           AND (m.state = 'dead' OR (discard.event_id IS NOT NULL AND m.state = 'parked'
                                     AND m.next_attempt_at IS NOT NULL))
        RETURNING p.pipeline),
    acted AS (
        UPDATE posthorn.pipeline l SET acts = l.acts + 1
         WHERE l.pipeline IN (SELECT d.pipeline FROM discarded d))
    SELECT count(*) INTO events FROM discarded;
    IF events > 0 THEN
        PERFORM posthorn.mend_queues(pipeline, clock_timestamp());
        INSERT INTO posthorn.audit (who, act, reason, detail)
        VALUES (who, 'discard', reason, jsonb_strip_nulls(jsonb_build_object(
            'pipeline', pipeline, 'eventType', event_type, 'key', key, 'since', since,
            'errorLike', error_like, 'eventId', event_id, 'events', events, 'login', session_user)));
    END IF;
    RETURN events;
END $$;
COMMENT ON FUNCTION posthorn.discard IS
    'Gives dead events up, and a parked head whose event_id is given; their rows stay, their keys go '
    'on. Returns how many; dry_run: how many it would be';

-- 3. Pause and resume ---------------------------------------------------------------------------

CREATE FUNCTION posthorn.pause(pipeline text, who text, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (pipeline <> '' AND who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.pause: pipeline and who must not be empty';
    END IF;
    PERFORM posthorn.lock_pipelines(pipeline);
    UPDATE posthorn.pipeline l
       SET paused_at = clock_timestamp(), paused_by = who, paused_reason = reason
     WHERE l.pipeline = pause.pipeline AND l.paused_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'pause', reason, jsonb_build_object('pipeline', pipeline, 'login', session_user));
    RETURN true;
END $$;
COMMENT ON FUNCTION posthorn.pause IS
    'Nothing of the pipeline is submitted until it is resumed; false when it was paused already';

CREATE FUNCTION posthorn.resume(pipeline text, who text, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (pipeline <> '' AND who <> '') IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.resume: pipeline and who must not be empty';
    END IF;
    PERFORM posthorn.lock_pipelines(pipeline);
    UPDATE posthorn.pipeline l SET paused_at = NULL, paused_by = NULL, paused_reason = NULL
     WHERE l.pipeline = resume.pipeline AND l.paused_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'resume', reason, jsonb_build_object('pipeline', pipeline, 'login', session_user));
    RETURN true;
END $$;
COMMENT ON FUNCTION posthorn.resume IS
    'Lets a paused pipeline go on; false when it was not paused';

-- 4. What people ask ----------------------------------------------------------------------------

CREATE VIEW posthorn.parked_counts AS
SELECT p.pipeline, p.state, p.event_type, p.last_error AS error, pg_catalog.count(*) AS events,
       pg_catalog.min(p.first_failed_at) AS first_at, pg_catalog.max(p.first_failed_at) AS last_at,
       pg_catalog.min(p.next_attempt_at) AS next_attempt_at
  FROM posthorn.parked p
 GROUP BY p.pipeline, p.state, p.event_type, p.last_error;
COMMENT ON VIEW posthorn.parked_counts IS
    'Events beside the log by pipeline, state, event type and last error';

CREATE VIEW posthorn.failure_reasons AS
SELECT p.pipeline, p.last_error AS error,
       pg_catalog.count(*) FILTER (WHERE p.state = 'parked') AS parked,
       pg_catalog.count(*) FILTER (WHERE p.state = 'dead') AS dead,
       pg_catalog.count(*) FILTER (WHERE p.state = 'discarded') AS discarded,
       pg_catalog.count(DISTINCT p.key) AS keys,
       pg_catalog.array_agg(DISTINCT p.event_type) AS event_types,
       pg_catalog.min(p.first_failed_at) AS first_at, pg_catalog.max(p.first_failed_at) AS last_at
  FROM posthorn.parked p
 WHERE p.last_error IS NOT NULL AND p.state <> 'skipped'
 GROUP BY p.pipeline, p.last_error;
COMMENT ON VIEW posthorn.failure_reasons IS
    'Each error that events beside the log ended with, and how many of which kind it met';

-- A tick is looked for among the 1,000 behind created_at, so that a writer's own created_at of last
-- year costs nothing; what it does not find is counted in unknown.
CREATE VIEW posthorn.publish_latency AS
SELECT o.event_type, pg_catalog.count(*) AS events,
       pg_catalog.percentile_disc(0.5) WITHIN GROUP (ORDER BY t.made_at - o.created_at) AS p50,
       pg_catalog.percentile_disc(0.99) WITHIN GROUP (ORDER BY t.made_at - o.created_at) AS p99,
       pg_catalog.count(*) FILTER (WHERE t.made_at IS NULL) AS unknown
  FROM (SELECT e.event_type, e.created_at, e.xid FROM posthorn.outbox e
         ORDER BY e.position DESC LIMIT 10000) o
  LEFT JOIN LATERAL (
        SELECT k.made_at FROM (SELECT b.made_at, b.snapshot FROM posthorn.tick b
                                WHERE b.made_at >= o.created_at ORDER BY b.made_at LIMIT 1000) k
         WHERE pg_catalog.pg_visible_in_snapshot(o.xid, k.snapshot)
         ORDER BY k.made_at LIMIT 1) t ON true
 GROUP BY o.event_type;
COMMENT ON VIEW posthorn.publish_latency IS
    'From created_at to the first tick that sees the event, by event type, over the newest 10,000 '
    'events; unknown = not seen yet, or 1,000 ticks after created_at';

CREATE VIEW posthorn.oldest_unsettled AS
SELECT c.pipeline, c.shard, 'log' AS place, e.event_id, e.event_type, e.created_at,
       pg_catalog.clock_timestamp() - e.created_at AS age
  FROM posthorn.checkpoint c
  LEFT JOIN posthorn.pipeline l ON l.pipeline = c.pipeline
 CROSS JOIN LATERAL (
        SELECT u.* FROM (
            (SELECT o.event_id, o.event_type, o.created_at, o.xid, o.position FROM posthorn.outbox o
              WHERE o.xid >= pg_catalog.pg_snapshot_xmax(c.base_snapshot::pg_snapshot)
                AND NOT (o.position <= c.position
                         AND pg_catalog.pg_visible_in_snapshot(o.xid, c.snapshot::pg_snapshot))
                AND (coalesce(l.shards, 1) = 1
                     OR (pg_catalog.hashtext(o.aggregate_id) & 4095) % l.shards = c.shard)
              ORDER BY o.xid, o.position LIMIT 1)
            UNION ALL
            (SELECT o.event_id, o.event_type, o.created_at, o.xid, o.position
               FROM pg_catalog.pg_snapshot_xip(c.base_snapshot::pg_snapshot) AS was_open (xid)
              CROSS JOIN LATERAL (
                    SELECT b.* FROM posthorn.outbox b
                     WHERE b.xid >= was_open.xid AND b.xid <= was_open.xid
                       AND NOT (b.position <= c.position
                                AND pg_catalog.pg_visible_in_snapshot(b.xid, c.snapshot::pg_snapshot))
                       AND (coalesce(l.shards, 1) = 1
                            OR (pg_catalog.hashtext(b.aggregate_id) & 4095) % l.shards = c.shard)
                     ORDER BY b.xid, b.position LIMIT 1) o)) u
         ORDER BY u.xid, u.position LIMIT 1) e
UNION ALL
(SELECT DISTINCT ON (p.pipeline, p.shard, p.state)
        p.pipeline, p.shard, p.state, p.event_id, p.event_type, p.created_at,
        pg_catalog.clock_timestamp() - p.created_at
   FROM posthorn.parked p
  WHERE p.state IN ('parked', 'dead', 'scheduled')
  ORDER BY p.pipeline, p.shard, p.state, p.tick, p.position);
COMMENT ON VIEW posthorn.oldest_unsettled IS
    'Per pipeline shard the oldest event that waits in the log, and the oldest parked, dead and '
    'scheduled one';

CREATE VIEW posthorn.stuck AS
SELECT 'dead head' AS what, q.pipeline, q.shard, q.key, q.event_id, q.rows - 1 AS waiting,
       q.first_failed_at AS since, q.last_error AS detail
  FROM (SELECT p.pipeline, p.shard, p.key, p.state, p.event_id, p.first_failed_at, p.last_error,
               pg_catalog.row_number() OVER (
                   PARTITION BY p.pipeline, p.shard, p.key
                       ORDER BY p.queue_tick, p.queue_position, p.deliver_after NULLS FIRST,
                                p.position) AS place,
               pg_catalog.count(*) OVER (PARTITION BY p.pipeline, p.shard, p.key) AS rows
          FROM posthorn.parked p
         WHERE p.key IS NOT NULL AND (p.state = 'parked' OR p.state = 'dead' AND NOT p.passed)) q
 WHERE q.place = 1 AND q.state = 'dead'
UNION ALL
SELECT CASE WHEN coalesce(l.expires_at, '-infinity') < pg_catalog.clock_timestamp()
            THEN 'nobody owns it' ELSE 'stands still' END,
       u.pipeline, u.shard, NULL, u.event_id, NULL, greatest(c.updated_at, u.created_at),
       CASE WHEN i.paused_at IS NOT NULL
            THEN pg_catalog.concat('paused by ', i.paused_by, ': ' || i.paused_reason)
            ELSE l.last_error END
  FROM posthorn.oldest_unsettled u
  JOIN posthorn.checkpoint c ON c.pipeline = u.pipeline AND c.shard = u.shard
  LEFT JOIN posthorn.lease l ON l.pipeline = u.pipeline AND l.shard = u.shard
  LEFT JOIN posthorn.pipeline i ON i.pipeline = u.pipeline
 WHERE u.place = 'log'
   AND (coalesce(l.expires_at, '-infinity') < pg_catalog.clock_timestamp()
        OR greatest(c.updated_at, u.created_at)
           < pg_catalog.clock_timestamp() - interval '1 minute');
COMMENT ON VIEW posthorn.stuck IS
    'What waits for a person: dead events with how many wait behind each, pipeline shards that have '
    'events and have not moved for a minute, and those that have events and no owner';

CREATE TYPE posthorn.event_states AS (
    "position" bigint, created_at timestamptz, event_id uuid, aggregate_type text, aggregate_id text,
    event_type text, headers jsonb, payload jsonb, payload_bytes bytea, content_type text,
    deliver_after timestamptz, states jsonb);

-- Reads the whole log: nothing else looks for these, and an index would cost every writer.
CREATE FUNCTION posthorn.find_events(aggregate_type text, aggregate_id text, headers jsonb)
RETURNS SETOF posthorn.event_states
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT e.position, e.created_at, e.event_id, e.aggregate_type, e.aggregate_id, e.event_type,
           e.headers, e.payload, e.payload_bytes, e.content_type, e.deliver_after,
           coalesce(k.states, '{}')
      FROM (SELECT o.position, o.created_at, o.event_id, o.aggregate_type, o.aggregate_id,
                   o.event_type, o.headers, o.payload, o.payload_bytes, o.content_type,
                   o.deliver_after
              FROM posthorn.outbox o
             WHERE ($1 IS NULL OR o.aggregate_type = $1) AND ($2 IS NULL OR o.aggregate_id = $2)
               AND ($3 IS NULL OR o.headers @> $3)
            UNION ALL
            (SELECT DISTINCT ON (g.position) g.position, g.created_at, g.event_id, g.aggregate_type,
                    g.aggregate_id, g.event_type, g.headers, g.payload, g.payload_bytes,
                    g.content_type, g.deliver_after
               FROM posthorn.parked g
              WHERE ($1 IS NULL OR g.aggregate_type = $1) AND ($2 IS NULL OR g.aggregate_id = $2)
                AND ($3 IS NULL OR g.headers @> $3)
                AND NOT EXISTS (SELECT FROM posthorn.outbox o WHERE o.position = g.position)
              ORDER BY g.position)) e
      LEFT JOIN (SELECT p.position, jsonb_object_agg(p.pipeline, p.state) AS states
                   FROM posthorn.parked p GROUP BY p.position) k ON k.position = e.position
     ORDER BY e.position
$$;
COMMENT ON FUNCTION posthorn.find_events IS
    'Events of the log, and those that only a parked row still has, with their state per pipeline';

CREATE FUNCTION posthorn.history(aggregate_type text, aggregate_id text)
RETURNS SETOF posthorn.event_states
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM posthorn.find_events($1, $2, NULL) WHERE $1 IS NOT NULL AND $2 IS NOT NULL
$$;
COMMENT ON FUNCTION posthorn.history IS
    'The events of one aggregate in the order of the log; states: {"pipeline": "dead"} where an event '
    'left the flow. Reads the whole log';

CREATE FUNCTION posthorn.correlation(id text, header_name text DEFAULT 'correlation_id')
RETURNS SETOF posthorn.event_states
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM posthorn.find_events(NULL, NULL, jsonb_build_object(header_name, id))
     WHERE id IS NOT NULL
$$;
COMMENT ON FUNCTION posthorn.correlation IS
    'The events whose header of that name has this value, as history() gives them';

-- 5. Nobody but the owner, until roles.sql or a person grants it --------------------------------

REVOKE ALL ON FUNCTION
    posthorn.lock_pipelines(text), posthorn.mend_queues(text, timestamptz),
    posthorn.parked_matching(text, text, text, timestamptz, text, uuid),
    posthorn.redrive(text, text, text, text, text, timestamptz, text, uuid, numeric, boolean),
    posthorn.discard(text, text, text, text, text, timestamptz, text, uuid, boolean),
    posthorn.pause(text, text, text), posthorn.resume(text, text, text),
    posthorn.find_events(text, text, jsonb),
    posthorn.history(text, text), posthorn.correlation(text, text) FROM PUBLIC;
