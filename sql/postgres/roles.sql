-- Posthorn's three roles and what each may do; `posthorn init --roles` runs this file, in one
-- transaction, after every migration. It may be run again. Grant a role to your own login:
--   GRANT posthorn_writer TO my_service;   GRANT posthorn_relay TO my_relay_login;
-- Needs a superuser, or the owner of the schema with CREATEROLE and CREATE on the database.

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['posthorn_owner', 'posthorn_relay', 'posthorn_writer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- made by another session meanwhile: roles belong to all databases
            END;
        END IF;
    END LOOP;
    IF NOT pg_catalog.pg_has_role(current_user, 'posthorn_owner', 'USAGE') THEN
        GRANT posthorn_owner TO CURRENT_USER; -- to hand things over, and for the next migration
    END IF;
END $$;

-- Everything belongs to posthorn_owner, so the SECURITY DEFINER functions run as a role that is
-- nobody elsewhere. Only what has another owner is altered: a second run takes no lock on the log.
DO $$
DECLARE
    owner constant oid := 'posthorn_owner'::regrole;
    what text;
BEGIN
    IF (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'posthorn') <> owner THEN
        ALTER SCHEMA posthorn OWNER TO posthorn_owner;
    END IF;
    FOR what IN
        SELECT pg_catalog.format('%s %s', CASE k.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
                                 k.oid::regclass)
          FROM pg_catalog.pg_class k
         WHERE k.relnamespace = 'posthorn'::regnamespace AND k.relowner <> owner
           AND k.relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT pg_catalog.format('TYPE %s', t.oid::regtype)
          FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class k ON k.oid = t.typrelid AND k.relkind = 'c'
         WHERE t.typnamespace = 'posthorn'::regnamespace AND t.typowner <> owner
        UNION ALL
        SELECT pg_catalog.format('FUNCTION %s', f.oid::regprocedure) FROM pg_catalog.pg_proc f
         WHERE f.pronamespace = 'posthorn'::regnamespace AND f.proowner <> owner
    LOOP
        EXECUTE pg_catalog.format('ALTER %s OWNER TO posthorn_owner', what);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA posthorn TO posthorn_relay, posthorn_writer;

-- A writer adds events and learns their ids; it reads no event, not even its own.
GRANT INSERT (event_id, aggregate_type, aggregate_id, event_type, payload, payload_bytes,
              content_type, headers, created_at, deliver_after) ON posthorn.outbox TO posthorn_writer;
GRANT SELECT (event_id) ON posthorn.outbox TO posthorn_writer;
GRANT EXECUTE ON FUNCTION posthorn.publish(text, text, text, jsonb, jsonb, uuid, timestamptz, boolean,
                                           bytea, text) TO posthorn_writer;

-- The relay reads the log, makes ticks, keeps its own books, and removes only by maintain().
GRANT SELECT ON posthorn.meta, posthorn.outbox, posthorn.tick, posthorn.pending,
                posthorn.outbox_status TO posthorn_relay;
GRANT SELECT ON SEQUENCE posthorn.tick_tick_seq TO posthorn_relay;
GRANT SELECT, INSERT, UPDATE ON posthorn.checkpoint, posthorn.lease, posthorn.pipeline
   TO posthorn_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON posthorn.parked, posthorn.member TO posthorn_relay;
GRANT SELECT, INSERT ON posthorn.audit TO posthorn_relay;
GRANT EXECUTE ON FUNCTION posthorn.make_tick(bigint), posthorn.maintain(interval),
                          posthorn.maintain_plan(interval), posthorn.fit_retention(),
                          posthorn.identity(), posthorn.timeline(),
                          posthorn.wake_heads(text, int, text[], timestamptz),
                          posthorn.hush_followers(text, int, text),
                          posthorn.park_outcomes(text, int, jsonb, timestamptz),
                          posthorn.park_queued(text, int, jsonb, timestamptz),
                          posthorn.park_put(text, int, jsonb, timestamptz),
                          posthorn.park(text, int, bigint, jsonb),
                          posthorn.microseconds(timestamptz),
                          posthorn.due(text, int, bigint, bigint),
                          posthorn.join_shards(text, int, text, bigint),
                          posthorn.claim_lease(text, int, int, text, text, bigint, bigint),
                          posthorn.renew_lease(text, int, int, text, text, bigint, bigint, text)
   TO posthorn_relay;

-- What people ask is counted and dated, and shows no payload.
GRANT SELECT ON posthorn.parked_counts, posthorn.failure_reasons, posthorn.publish_latency,
                posthorn.oldest_unsettled, posthorn.stuck TO posthorn_relay;
GRANT EXECUTE ON FUNCTION posthorn.parked_matching(text, text, text, timestamptz, text, uuid)
   TO posthorn_relay; -- dead list and dead show

-- What people do stays with posthorn_owner; grant it to whoever answers for it, function by function:
--   GRANT posthorn_relay TO my_operator_login; -- status, dead list, dead show, the views
--   GRANT EXECUTE ON FUNCTION
--       posthorn.redrive(text, text, text, text, text, timestamptz, text, uuid, numeric, boolean),
--       posthorn.discard(text, text, text, text, text, timestamptz, text, uuid, boolean),
--       posthorn.pause(text, text, text), posthorn.resume(text, text, text),
--       posthorn.reshard(text, int, text, text),
--       posthorn.adopt(text, text, text, text, bigint, bigint, timestamptz, boolean, int), posthorn.history(text, text),
--       posthorn.correlation(text, text) TO my_operator_login;
-- forget() and erase() likewise, for the log's content:
--   GRANT EXECUTE ON FUNCTION posthorn.erase(text, text, text, text) TO my_privacy_login;
