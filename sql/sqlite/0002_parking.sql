-- Version 2: events that left the flow come back (parked, dead, scheduled), and what a person said of
-- a pipeline. `posthorn init` runs this file behind 0001, in one transaction; nothing here is newer
-- than SQLite 3.9. The log and its rows are not touched.

-- 1. Pipelines ----------------------------------------------------------------------------------

CREATE TABLE posthorn_pipeline (
    pipeline      TEXT    NOT NULL PRIMARY KEY CHECK (pipeline <> ''),
    shards        INTEGER NOT NULL DEFAULT 1 CHECK (shards = 1), -- one instance reads a file's log
    paused_at     INTEGER,
    paused_by     TEXT,
    paused_reason TEXT,
    acts          INTEGER NOT NULL DEFAULT 0 -- how often people have changed its parked rows
) WITHOUT ROWID;

INSERT INTO posthorn_pipeline (pipeline)
SELECT pipeline FROM posthorn_checkpoint
 UNION SELECT pipeline FROM posthorn_lease
 UNION SELECT pipeline FROM posthorn_parked;

-- 2. Rows beside the flow -----------------------------------------------------------------------

-- One row for an event that left the flow, with all that is needed to send or show it after its row
-- in the log is gone; removed when the event is delivered.
--   parked     waits for its next attempt, or behind an earlier event of its key
--   dead       waits for a person; its key waits with it, or has gone on (passed)
--   scheduled  waits for its deliver_after
--   discarded, skipped  a person gave it up
-- Rows of one key that are parked, or dead and not passed, are its queue, in the order (queue_tick,
-- queue_position, deliver_after, position); the first one, if parked, has next_attempt_at, and so
-- have scheduled rows and parked ones without a key; no other has. Large columns come last.
ALTER TABLE posthorn_parked RENAME TO posthorn_parked_1;

CREATE TABLE posthorn_parked (
    pipeline        TEXT    NOT NULL,
    shard           INTEGER NOT NULL DEFAULT 0,
    tick            INTEGER NOT NULL DEFAULT 1,
    position        INTEGER NOT NULL,
    key             TEXT,
    state           TEXT    NOT NULL
        CHECK (state IN ('parked', 'dead', 'scheduled', 'discarded', 'skipped')),
    queue_tick      INTEGER NOT NULL,
    queue_position  INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    passed          INTEGER NOT NULL DEFAULT 0 CHECK (passed IN (0, 1)),
    gap_due         INTEGER NOT NULL DEFAULT 0 CHECK (gap_due IN (0, 1)), -- nobody was told of it
    redriven_at     INTEGER,
    first_failed_at INTEGER NOT NULL,
    last_error      TEXT,
    event_id        TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    deliver_after   INTEGER,
    aggregate_type  TEXT    NOT NULL,
    aggregate_id    TEXT    NOT NULL,
    event_type      TEXT    NOT NULL,
    content_type    TEXT,
    headers         TEXT    NOT NULL DEFAULT '{}',
    payload         TEXT,
    payload_bytes   BLOB,
    UNIQUE (pipeline, shard, position)
);

-- Version 1 kept skipped rows only; what else somebody put there waits for a person.
INSERT INTO posthorn_parked (pipeline, shard, tick, position, key, state, queue_tick, queue_position,
                             attempts, first_failed_at, last_error, event_id, created_at,
                             deliver_after, aggregate_type, aggregate_id, event_type, content_type,
                             headers, payload, payload_bytes)
SELECT pipeline, shard, tick, position, key, CASE state WHEN 'parked' THEN 'dead' ELSE state END, tick,
       position, attempts, first_failed_at, last_error, event_id, created_at, deliver_after,
       aggregate_type, aggregate_id, event_type, content_type, headers, payload, payload_bytes
  FROM posthorn_parked_1
 WHERE state <> 'sent'
 ORDER BY pipeline, shard, position;

DROP TABLE posthorn_parked_1;

-- What comes due; rows that are not due cost nothing.
CREATE INDEX posthorn_parked_due ON posthorn_parked (pipeline, shard, next_attempt_at, position)
 WHERE next_attempt_at IS NOT NULL;
CREATE INDEX posthorn_parked_queue
    ON posthorn_parked (pipeline, shard, key, queue_tick, queue_position, deliver_after, position)
 WHERE key IS NOT NULL AND (state = 'parked' OR (state = 'dead' AND passed = 0));
CREATE INDEX posthorn_parked_gap ON posthorn_parked (pipeline, shard, key, tick, position)
 WHERE gap_due = 1;
CREATE INDEX posthorn_parked_state ON posthorn_parked (pipeline, shard, state);
