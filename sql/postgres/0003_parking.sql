-- Version 3: events beside the flow (parked, dead, scheduled), and pipelines that several instances
-- share by shards. `posthorn init` runs this file behind 0002. Nothing locks the log; parked, lease
-- and checkpoint are locked for a moment.

-- 1. Pipelines and who shares them --------------------------------------------------------------

CREATE TABLE posthorn.pipeline (
    pipeline      text        NOT NULL PRIMARY KEY CHECK (pipeline <> ''),
    shards        int         NOT NULL DEFAULT 1 CHECK (shards > 0),
    acts          bigint      NOT NULL DEFAULT 0,
    paused_at     timestamptz,
    paused_by     text,
    paused_reason text
) WITH (fillfactor = 70);
COMMENT ON TABLE posthorn.pipeline IS
    'One row a pipeline; who changes its parked rows holds it, the relay and people alike';
COMMENT ON COLUMN posthorn.pipeline.acts IS
    'how often people have changed its parked rows: a relay that sees it move looks again';

INSERT INTO posthorn.pipeline (pipeline)
SELECT k.pipeline FROM posthorn.checkpoint k UNION SELECT l.pipeline FROM posthorn.lease l
 UNION SELECT p.pipeline FROM posthorn.parked p;

-- Instances of a pipeline with several shards, each refreshed with its leases.
CREATE TABLE posthorn.member (
    pipeline   text        NOT NULL,
    instance   text        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline, instance)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

ALTER TABLE posthorn.lease ADD COLUMN instance text;
COMMENT ON COLUMN posthorn.lease.instance IS 'the process that owns it; owner differs from lease to lease';

-- 2. Rows beside the flow -----------------------------------------------------------------------

ALTER TABLE posthorn.parked
    ADD COLUMN queue_tick     bigint,
    ADD COLUMN queue_position bigint,
    ADD COLUMN passed         boolean NOT NULL DEFAULT false,
    ADD COLUMN gap_due        boolean NOT NULL DEFAULT false,
    ADD COLUMN redriven_at    timestamptz,
    DROP CONSTRAINT parked_state_check;
DELETE FROM posthorn.parked WHERE state = 'sent'; -- nothing wrote such, and they are removed from now on
UPDATE posthorn.parked SET queue_tick = tick, queue_position = position;
ALTER TABLE posthorn.parked
    ALTER COLUMN queue_tick SET NOT NULL,
    ALTER COLUMN queue_position SET NOT NULL,
    ADD CONSTRAINT parked_state_check
        CHECK (state IN ('parked', 'dead', 'scheduled', 'discarded', 'skipped')),
    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
         autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE posthorn.parked IS
    'Events that left the flow of a pipeline: parked (another attempt follows, or an earlier event of '
    'the key waits), dead (a person must see to it), scheduled (until deliver_after), discarded, '
    'skipped. A row that was delivered is removed';
COMMENT ON COLUMN posthorn.parked.queue_tick IS
    'with queue_position, deliver_after and position: its place among the rows of its key';
COMMENT ON COLUMN posthorn.parked.passed IS 'dead, and its key went on without it (on_dead: skip)';
COMMENT ON COLUMN posthorn.parked.gap_due IS 'no later event of the key has told of the gap yet';
COMMENT ON COLUMN posthorn.parked.next_attempt_at IS
    'of the first row of a key''s queue, and of scheduled rows; the others wait for those in front';

-- A key may be longer than an index takes, so its hash stands in.
CREATE INDEX parked_due ON posthorn.parked (pipeline, shard, next_attempt_at, position)
 WHERE next_attempt_at IS NOT NULL;
CREATE INDEX parked_queue ON posthorn.parked
       (pipeline, shard, pg_catalog.hashtextextended(key, 0), queue_tick, queue_position,
        deliver_after NULLS FIRST, position)
 WHERE state IN ('parked', 'dead');

-- 3. What the relay changes ---------------------------------------------------------------------

-- The heads of queues: a parked one that has no time comes due now. The subquery is bounded and by
-- key, so it is one look into the index a key, whatever the planner believes of the table.
CREATE FUNCTION posthorn.wake_heads(pipeline text, shard int, keys text[], moment timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    head bigint;
BEGIN
    FOR head IN
        SELECT h.position FROM (SELECT DISTINCT u.key FROM unnest(keys) u (key)) k
         CROSS JOIN LATERAL (
               SELECT q.position, q.state, q.next_attempt_at FROM posthorn.parked q
                WHERE q.pipeline = wake_heads.pipeline AND q.shard = wake_heads.shard
                  AND hashtextextended(q.key, 0) = hashtextextended(k.key, 0) AND q.key = k.key
                  AND q.state IN ('parked', 'dead') AND NOT (q.state = 'dead' AND q.passed)
                ORDER BY q.queue_tick, q.queue_position, q.deliver_after NULLS FIRST, q.position
                LIMIT 1) h
         WHERE h.state = 'parked' AND h.next_attempt_at IS NULL
    LOOP
        UPDATE posthorn.parked p SET next_attempt_at = moment
         WHERE p.pipeline = wake_heads.pipeline AND p.shard = wake_heads.shard AND p.position = head;
    END LOOP;
END $$;

-- A row came to the front of its key's queue: nobody behind it has a time any more.
CREATE FUNCTION posthorn.hush_followers(pipeline text, shard int, key text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    follower bigint;
BEGIN
    FOR follower IN
        SELECT b.position FROM (
            SELECT q.position, q.next_attempt_at FROM posthorn.parked q
             WHERE q.pipeline = hush_followers.pipeline AND q.shard = hush_followers.shard
               AND hashtextextended(q.key, 0) = hashtextextended(hush_followers.key, 0)
               AND q.key = hush_followers.key AND q.state IN ('parked', 'dead')
               AND NOT (q.state = 'dead' AND q.passed)
             ORDER BY q.queue_tick, q.queue_position, q.deliver_after NULLS FIRST, q.position
            OFFSET 1) b
         WHERE b.next_attempt_at IS NOT NULL
    LOOP
        UPDATE posthorn.parked p SET next_attempt_at = NULL
         WHERE p.pipeline = hush_followers.pipeline AND p.shard = hush_followers.shard
           AND p.position = follower;
    END LOOP;
END $$;

-- Rows that came due and what became of them, one by one, so that each is one look into the index.
-- keys: those whose queue may have a new head.
CREATE FUNCTION posthorn.park_outcomes(pipeline text, shard int, changes jsonb, moment timestamptz,
                                       OUT keys text[])
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c   record;
    was record;
BEGIN
    keys := '{}';
    FOR c IN
        SELECT * FROM jsonb_to_recordset(changes) AS j (act text, state text, "position" bigint,
                      attempts int, wait_ms bigint, passed boolean, error text)
         WHERE j.act IN ('sent', 'failed', 'told')
    LOOP
        SELECT p.key, p.state INTO was FROM posthorn.parked p
         WHERE p.pipeline = park_outcomes.pipeline AND p.shard = park_outcomes.shard
           AND p.position = c.position;
        CONTINUE WHEN NOT FOUND OR was.state = 'discarded'; -- a person was quicker
        IF c.act = 'sent' THEN
            DELETE FROM posthorn.parked p
             WHERE p.pipeline = park_outcomes.pipeline AND p.shard = park_outcomes.shard
               AND p.position = c.position;
        ELSIF c.act = 'told' THEN
            UPDATE posthorn.parked p SET gap_due = false
             WHERE p.pipeline = park_outcomes.pipeline AND p.shard = park_outcomes.shard
               AND p.position = c.position;
        ELSE
            UPDATE posthorn.parked p
               SET state = c.state, attempts = c.attempts, last_error = c.error, passed = c.passed,
                   gap_due = c.passed AND c.state = 'dead',
                   next_attempt_at = CASE WHEN c.state = 'parked' THEN
                       moment + coalesce(c.wait_ms, 0) * interval '1 millisecond' END
             WHERE p.pipeline = park_outcomes.pipeline AND p.shard = park_outcomes.shard
               AND p.position = c.position;
            IF was.state = 'scheduled' AND was.key IS NOT NULL AND NOT c.passed THEN
                PERFORM posthorn.hush_followers(park_outcomes.pipeline, park_outcomes.shard, was.key);
            ELSIF was.key IS NOT NULL AND NOT c.passed THEN -- a person may have put one in front
                UPDATE posthorn.parked p SET next_attempt_at = NULL
                 WHERE p.pipeline = park_outcomes.pipeline AND p.shard = park_outcomes.shard
                   AND p.position = c.position AND p.position <> (
                       SELECT q.position FROM posthorn.parked q
                        WHERE q.pipeline = park_outcomes.pipeline AND q.shard = park_outcomes.shard
                          AND hashtextextended(q.key, 0) = hashtextextended(was.key, 0)
                          AND q.key = was.key AND q.state IN ('parked', 'dead')
                          AND NOT (q.state = 'dead' AND q.passed)
                        ORDER BY q.queue_tick, q.queue_position, q.deliver_after NULLS FIRST,
                                 q.position LIMIT 1);
            END IF;
        END IF;
        keys := keys || was.key;
    END LOOP;
END $$;

-- Scheduled rows whose time came while their key waits, one by one: each stands behind the one before,
-- and behind what the same list puts there.
CREATE FUNCTION posthorn.park_queued(pipeline text, shard int, changes jsonb, moment timestamptz,
                                     OUT keys text[])
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    c    record;
    was  record;
    last record;
BEGIN
    keys := '{}';
    FOR c IN SELECT * FROM jsonb_to_recordset(changes) AS j (act text, "position" bigint)
              WHERE j.act = 'queue'
    LOOP
        SELECT p.key, p.queue_tick, p.queue_position INTO was FROM posthorn.parked p
         WHERE p.pipeline = park_queued.pipeline AND p.shard = park_queued.shard
           AND p.position = c.position AND p.state = 'scheduled';
        CONTINUE WHEN NOT FOUND;
        SELECT q.queue_tick, q.queue_position INTO last FROM posthorn.parked q
         WHERE q.pipeline = park_queued.pipeline AND q.shard = park_queued.shard
           AND hashtextextended(q.key, 0) = hashtextextended(was.key, 0) AND q.key = was.key
           AND q.state IN ('parked', 'dead') AND NOT (q.state = 'dead' AND q.passed)
         ORDER BY q.queue_tick DESC, q.queue_position DESC, q.deliver_after DESC NULLS LAST,
                  q.position DESC LIMIT 1;
        UPDATE posthorn.parked p
           SET state = 'parked', next_attempt_at = CASE WHEN was.key IS NULL THEN moment END,
               queue_tick = coalesce(last.queue_tick, was.queue_tick),
               queue_position = coalesce(last.queue_position, was.queue_position)
         WHERE p.pipeline = park_queued.pipeline AND p.shard = park_queued.shard
           AND p.position = c.position;
        keys := keys || was.key;
    END LOOP;
END $$;

-- Events that leave the log. A log's row is looked up by its position, one look a partition,
-- however large the log has grown since the plan was made: OFFSET 0 keeps the planner from turning it
-- round. A row that is nowhere any more is an error.
CREATE FUNCTION posthorn.park_put(pipeline text, shard int, changes jsonb, moment timestamptz,
                                  OUT keys text[])
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    missing bigint;
    waiting text;
BEGIN
    WITH put AS (
        INSERT INTO posthorn.parked AS p (
               pipeline, shard, tick, position, queue_tick, queue_position, key, state, attempts,
               next_attempt_at, first_failed_at, last_error, passed, gap_due, xid, created_at,
               event_id, aggregate_type, aggregate_id, event_type, headers, payload, payload_bytes,
               content_type, deliver_after)
        SELECT park_put.pipeline, park_put.shard, c.tick, c.position, c.tick, c.position, c.key,
               c.state, c.attempts,
               CASE c.state WHEN 'scheduled' THEN o.deliver_after
                            WHEN 'parked' THEN moment + CASE WHEN c.key IS NULL
                                 THEN coalesce(c.wait_ms, 0) ELSE c.wait_ms END
                                                      * interval '1 millisecond' END,
               moment, c.error, c.passed, c.passed, o.xid, o.created_at, o.event_id,
               o.aggregate_type, o.aggregate_id, o.event_type, o.headers, o.payload,
               o.payload_bytes, o.content_type, o.deliver_after
          FROM jsonb_to_recordset(changes) AS c (act text, state text, tick bigint,
               "position" bigint, key text, attempts int, wait_ms bigint, passed boolean, error text)
         CROSS JOIN LATERAL (
               SELECT l.* FROM posthorn.outbox l WHERE l.position = c.position OFFSET 0) o
         WHERE c.act = 'put'
        ON CONFLICT (pipeline, shard, position) DO NOTHING
        RETURNING p.key, p.state)
    SELECT coalesce(array_agg(DISTINCT n.key), '{}') INTO keys FROM put n
     WHERE n.key IS NOT NULL AND n.state = 'parked';

    SELECT min(c.position) INTO missing
      FROM jsonb_to_recordset(changes) AS c (act text, "position" bigint)
      LEFT JOIN LATERAL (
           SELECT true AS there FROM posthorn.parked p
            WHERE p.pipeline = park_put.pipeline AND p.shard = park_put.shard
              AND p.position = c.position OFFSET 0) r ON true
     WHERE c.act = 'put' AND r.there IS NULL;
    IF missing IS NOT NULL THEN
        RAISE no_data_found USING MESSAGE = format(
            'posthorn.park: the event at position %s is not in posthorn.outbox any more', missing);
    END IF;

    FOR waiting IN -- for its own time, behind a row that a person brought back meanwhile
        SELECT DISTINCT c.key
          FROM jsonb_to_recordset(changes) AS c (act text, state text, "position" bigint, key text,
               wait_ms bigint)
         CROSS JOIN LATERAL (
               SELECT q.position FROM posthorn.parked q
                WHERE q.pipeline = park_put.pipeline AND q.shard = park_put.shard
                  AND hashtextextended(q.key, 0) = hashtextextended(c.key, 0) AND q.key = c.key
                  AND q.state IN ('parked', 'dead') AND NOT (q.state = 'dead' AND q.passed)
                ORDER BY q.queue_tick, q.queue_position, q.deliver_after NULLS FIRST, q.position
                LIMIT 1) h
         WHERE c.act = 'put' AND c.state = 'parked' AND c.wait_ms IS NOT NULL
           AND h.position <> c.position
    LOOP
        PERFORM posthorn.hush_followers(park_put.pipeline, park_put.shard, waiting);
    END LOOP;
END $$;

-- changes: see src/core/park.h. All or none; false, and nothing done, when a newer epoch owns the
-- checkpoint. Each statement sees what was committed before the locks were given. That of parked keeps
-- an erasure out, which is then seen in the log.
CREATE FUNCTION posthorn.park(pipeline text, shard int, epoch bigint, changes jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
    newest bigint;
    keys   text[];
BEGIN
    PERFORM FROM posthorn.pipeline l WHERE l.pipeline = park.pipeline FOR UPDATE;
    LOCK TABLE posthorn.parked IN ROW EXCLUSIVE MODE;
    SELECT c.epoch INTO newest FROM posthorn.checkpoint c
     WHERE c.pipeline = park.pipeline AND c.shard = park.shard FOR UPDATE;
    IF NOT FOUND OR newest > park.epoch THEN
        RETURN false;
    END IF;
    moment := clock_timestamp();
    keys := posthorn.park_outcomes(park.pipeline, park.shard, changes, moment)
         || posthorn.park_put(park.pipeline, park.shard, changes, moment)
         || posthorn.park_queued(park.pipeline, park.shard, changes, moment);
    PERFORM posthorn.wake_heads(park.pipeline, park.shard, keys, moment);
    RETURN true;
END $$;
COMMENT ON FUNCTION posthorn.park IS
    'For the relay: takes events out of the flow of a pipeline shard and stores what became of those '
    'that came back; false when a newer instance owns it';

-- As the reader of the log counts a time: since 1970, no further than a bigint goes.
CREATE FUNCTION posthorn.microseconds(t timestamptz) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE t WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9222425352054775808
                  ELSE least(extract(epoch FROM t) * 1000000, 9223372036854775807)::bigint END;
END $$;

-- What is due, each head followed by the parked rows behind it in its queue up to a dead one. Reads
-- what it returns, whatever else waits: heads come from one index by time, followers from one by key,
-- and it ends when events or bytes are reached; one row at least. Only rows that the stored checkpoint
-- has passed: the log will not bring them again.
CREATE FUNCTION posthorn.due(pipeline text, shard int, events bigint, bytes bigint)
RETURNS TABLE (tick bigint, "position" bigint, state text, attempts int, passed boolean, key text,
               xid xid8, created_us bigint, event_id uuid, aggregate_type text, aggregate_id text,
               event_type text, headers text, payload text, payload_bytes bytea, content_type text,
               deliver_after_us bigint)
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    place         record;
    head          record;
    created_at    timestamptz;
    deliver_after timestamptz;
    returned      bigint := 0;
    size          bigint := 0;
BEGIN
    SELECT c.tick, c.position INTO place FROM posthorn.checkpoint c
     WHERE c.pipeline = due.pipeline AND c.shard = due.shard;
    FOR head IN
        SELECT h.position, h.key, h.state, h.queue_tick, h.queue_position,
               coalesce(h.deliver_after, '-infinity') AS deliver_after
          FROM posthorn.parked h
         WHERE h.pipeline = due.pipeline AND h.shard = due.shard
           AND h.next_attempt_at <= statement_timestamp()
           AND (h.tick, h.position) <= (place.tick, place.position)
         ORDER BY h.next_attempt_at, h.position LIMIT due.events
    LOOP
        FOR tick, position, state, attempts, passed, key, xid, created_at, event_id, aggregate_type,
            aggregate_id, event_type, headers, payload, payload_bytes, content_type, deliver_after IN
            SELECT p.tick, p.position, p.state, p.attempts, p.passed, p.key, p.xid, p.created_at,
                   p.event_id, p.aggregate_type, p.aggregate_id, p.event_type, p.headers::text,
                   p.payload::text, p.payload_bytes, p.content_type, p.deliver_after
              FROM posthorn.parked p
             WHERE p.pipeline = due.pipeline AND p.shard = due.shard AND p.position = head.position
            UNION ALL
            (SELECT f.tick, f.position, f.state, f.attempts, f.passed, f.key, f.xid, f.created_at,
                   f.event_id, f.aggregate_type, f.aggregate_id, f.event_type, f.headers::text,
                   f.payload::text, f.payload_bytes, f.content_type, f.deliver_after
              FROM posthorn.parked f
             WHERE head.state = 'parked' AND f.pipeline = due.pipeline AND f.shard = due.shard
               AND hashtextextended(f.key, 0) = hashtextextended(head.key, 0) AND f.key = head.key
               AND f.state IN ('parked', 'dead') AND NOT (f.state = 'dead' AND f.passed)
               AND (f.queue_tick, f.queue_position) >= (head.queue_tick, head.queue_position)
               AND (f.queue_tick, f.queue_position, coalesce(f.deliver_after, '-infinity'), f.position)
                   > (head.queue_tick, head.queue_position, head.deliver_after, head.position)
             ORDER BY f.queue_tick, f.queue_position, f.deliver_after NULLS FIRST, f.position
             LIMIT due.events)
        LOOP
            EXIT WHEN state = 'dead' OR tick > place.tick
                   OR tick = place.tick AND position > place.position;
            size := size + octet_length(headers) + coalesce(octet_length(payload), 0)
                         + coalesce(octet_length(payload_bytes), 0);
            IF returned > 0 AND (returned >= events OR size > bytes) THEN
                RETURN;
            END IF;
            returned := returned + 1;
            created_us := posthorn.microseconds(created_at);
            deliver_after_us := posthorn.microseconds(deliver_after);
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION posthorn.due IS
    'For the relay: the rows beside the log whose time has come, in the order in which they are sent';

-- 4. Leases -------------------------------------------------------------------------------------

-- How many shards are this instance's share, which is one of those that were seen of late.
CREATE FUNCTION posthorn.join_shards(pipeline text, shards int, instance text, lease_ms bigint)
RETURNS int LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    members bigint;
BEGIN
    IF shards <= 1 THEN
        RETURN 1;
    END IF;
    -- its own row makes the leases of one instance wait for each other
    INSERT INTO posthorn.member (pipeline, instance, expires_at)
    VALUES (join_shards.pipeline, join_shards.instance,
            clock_timestamp() + lease_ms * interval '1 millisecond')
    ON CONFLICT (pipeline, instance) DO UPDATE SET expires_at = excluded.expires_at;
    SELECT count(*) INTO members FROM posthorn.member m
     WHERE m.pipeline = join_shards.pipeline AND m.expires_at > clock_timestamp();
    RETURN (shards + members - 1) / greatest(members, 1);
END $$;

-- No row = another's, or no more for this instance.
CREATE FUNCTION posthorn.claim_lease(pipeline text, shard int, shards int, owner text, instance text,
                                     lease_ms bigint, retention_ms bigint)
RETURNS TABLE (epoch bigint, paused boolean)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    share int;
BEGIN
    LOCK TABLE posthorn.lease IN ROW EXCLUSIVE MODE; -- behind a forget() everything is seen gone
    INSERT INTO posthorn.pipeline (pipeline, shards) VALUES (claim_lease.pipeline, claim_lease.shards)
    ON CONFLICT DO NOTHING;
    share := posthorn.join_shards(claim_lease.pipeline, claim_lease.shards, claim_lease.instance,
                                  lease_ms);
    IF claim_lease.shards > 1 AND share <= (
           SELECT count(*) FROM posthorn.lease l
            WHERE l.pipeline = claim_lease.pipeline AND l.shard <> claim_lease.shard
              AND l.instance = claim_lease.instance AND l.expires_at > clock_timestamp()) THEN
        RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO posthorn.lease AS l (pipeline, shard, owner, instance, epoch, expires_at, retention)
    VALUES (claim_lease.pipeline, claim_lease.shard, claim_lease.owner, claim_lease.instance,
            1 + coalesce((SELECT max((a.detail->>'epoch')::bigint) FROM posthorn.audit a
                           WHERE a.act = 'forget'
                             AND a.detail->>'pipeline' = claim_lease.pipeline), 0),
            clock_timestamp() + lease_ms * interval '1 millisecond',
            retention_ms * interval '1 millisecond')
    ON CONFLICT (pipeline, shard) DO UPDATE
       SET owner = excluded.owner, instance = excluded.instance, epoch = l.epoch + 1,
           expires_at = excluded.expires_at, retention = excluded.retention
     WHERE l.expires_at < clock_timestamp() OR l.owner = excluded.owner
    RETURNING l.epoch,
              (SELECT p.paused_at IS NOT NULL FROM posthorn.pipeline p WHERE p.pipeline = l.pipeline);
END $$;
COMMENT ON FUNCTION posthorn.claim_lease IS
    'For the relay: takes the lease of a shard when it is free, run out by this server''s clock, or '
    'ours already, and this instance has not its share of the shards';

-- No row = it is another's now.
CREATE FUNCTION posthorn.renew_lease(pipeline text, shard int, shards int, owner text, instance text,
                                     epoch bigint, lease_ms bigint, last_error text)
RETURNS TABLE (paused boolean, excess boolean)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    share int;
BEGIN
    -- members before leases, here as in a claim and a release, so that nobody waits in a circle
    share := posthorn.join_shards(renew_lease.pipeline, renew_lease.shards, renew_lease.instance,
                                  lease_ms);
    UPDATE posthorn.lease l
       SET expires_at = clock_timestamp() + lease_ms * interval '1 millisecond',
           last_error = coalesce(renew_lease.last_error, l.last_error),
           last_error_at = CASE WHEN renew_lease.last_error IS NULL THEN l.last_error_at
                                ELSE clock_timestamp() END
     WHERE l.pipeline = renew_lease.pipeline AND l.shard = renew_lease.shard
       AND l.owner = renew_lease.owner AND l.epoch = renew_lease.epoch;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT
        EXISTS (SELECT FROM posthorn.pipeline p
                 WHERE p.pipeline = renew_lease.pipeline AND p.paused_at IS NOT NULL),
        renew_lease.shards > 1 AND share <= (
            SELECT count(*) FROM posthorn.lease l
             WHERE l.pipeline = renew_lease.pipeline AND l.shard < renew_lease.shard
               AND l.instance = renew_lease.instance AND l.expires_at > clock_timestamp());
END $$;
COMMENT ON FUNCTION posthorn.renew_lease IS
    'For the relay: extends a lease; says whether the pipeline is paused, and whether this instance '
    'has more than its share of the shards, of which the last ones are given up';

-- 5. What changes for others --------------------------------------------------------------------

-- As in version 1, and deliver_after is taken.
CREATE OR REPLACE FUNCTION posthorn.publish(
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
    ELSIF deliver_after IN ('infinity', '-infinity') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'posthorn.publish: deliver_after must be a time that comes';
    END IF;
    IF publish.strict THEN
        -- Before the position is drawn, held to the end: the order of positions is that of commits.
        PERFORM pg_catalog.pg_advisory_xact_lock(1886352244, pg_catalog.hashtext(aggregate_id) & 4095);
    END IF;
    event_id := COALESCE(event_id, pg_catalog.gen_random_uuid());
    INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers,
                                 payload, payload_bytes, content_type, deliver_after)
    VALUES (event_id, aggregate_type, aggregate_id, event_type, COALESCE(headers, '{}'),
            payload, payload_bytes, content_type, deliver_after);
    RETURN event_id;
END $$;
COMMENT ON FUNCTION posthorn.publish IS
    'Adds one event to the outbox in the caller''s transaction and returns its id; a NULL payload is '
    'a tombstone; with deliver_after it leaves at that time, without holding its aggregate''s others; '
    'strict orders events of one aggregate_id when nothing else locks the aggregate';

-- As in version 2, and the pipeline's row and members go too; scheduled events count like parked ones.
CREATE OR REPLACE FUNCTION posthorn.forget(pipeline text, who text, reason text DEFAULT NULL,
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
    PERFORM FROM posthorn.pipeline l WHERE l.pipeline = forget.pipeline FOR UPDATE; -- as park() does
    SELECT l.owner, l.expires_at INTO held FROM posthorn.lease l
     WHERE l.pipeline = forget.pipeline AND l.expires_at > clock_timestamp() ORDER BY l.shard LIMIT 1;
    IF FOUND THEN
        RAISE object_in_use USING MESSAGE = format(
            'pipeline %s is owned by %s until %s: stop that posthorn, or take the pipeline out of its '
            'configuration and reload it, then forget', pipeline, held.owner,
            to_char(held.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
    END IF;
    SELECT count(*) INTO waiting FROM posthorn.parked p
     WHERE p.pipeline = forget.pipeline AND p.state IN ('parked', 'dead', 'scheduled');
    IF waiting > 0 AND discard_parked IS NOT TRUE THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format(
            'pipeline %s has %s parked, dead or scheduled events, which forgetting would lose: settle them, or '
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
    DELETE FROM posthorn.member m WHERE m.pipeline = forget.pipeline;
    DELETE FROM posthorn.pipeline l WHERE l.pipeline = forget.pipeline;
    INSERT INTO posthorn.audit (who, act, reason, detail)
    VALUES (who, 'forget', reason, jsonb_build_object(
        'pipeline', pipeline, 'epoch', coalesce(last.epoch, 0), 'parked', waiting,
        'parkedRowsRemoved', discarded, 'login', session_user));
    PERFORM posthorn.fit_retention();
    RETURN true;
END $$;

-- 6. Nobody but the owner, until roles.sql or a person grants it --------------------------------

REVOKE ALL ON FUNCTION
    posthorn.wake_heads(text, int, text[], timestamptz), posthorn.hush_followers(text, int, text),
    posthorn.park_outcomes(text, int, jsonb, timestamptz),
    posthorn.park_queued(text, int, jsonb, timestamptz),
    posthorn.park_put(text, int, jsonb, timestamptz), posthorn.park(text, int, bigint, jsonb),
    posthorn.microseconds(timestamptz), posthorn.due(text, int, bigint, bigint),
    posthorn.join_shards(text, int, text, bigint),
    posthorn.claim_lease(text, int, int, text, text, bigint, bigint),
    posthorn.renew_lease(text, int, int, text, text, bigint, bigint, text) FROM PUBLIC;
