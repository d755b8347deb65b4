-- Posthorn's log in SQLite. `posthorn init sqlite:FILE` sets journal_mode = wal and runs this file as
-- one transaction; it holds no BEGIN and no COMMIT. Nothing here is newer than SQLite 3.9, and no
-- table is STRICT, so that a program with an older library can still open the application's
-- database.
-- Times are milliseconds since 1970-01-01 UTC, like Date.now().

-- 1. Which log this is --------------------------------------------------------------------------

-- log_id is what a checkpoint that was stored elsewhere is compared with. A copy of the file has the
-- same log_id; its checkpoints and its log went back together.
CREATE TABLE posthorn_meta (
    singleton      INTEGER PRIMARY KEY CHECK (singleton = 1),
    schema_version INTEGER NOT NULL,
    log_id         TEXT    NOT NULL,
    installed_at   INTEGER NOT NULL,
    retention_ms   INTEGER NOT NULL CHECK (retention_ms >= 0), -- in force: the longest of all leases
    epoch_floor    INTEGER NOT NULL -- a lease made anew begins above those that were forgotten
);

INSERT INTO posthorn_meta (singleton, schema_version, log_id, installed_at, retention_ms, epoch_floor)
VALUES (1, 1,
        printf('%08x-%04x-4%03x-%04x-%012x', random() & 4294967295, random() & 65535,
               random() & 4095, 32768 | (random() & 16383), random() & 281474976710655),
        CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), 604800000, 0);

-- 2. The log ------------------------------------------------------------------------------------

-- One row an event, inserted in the application's own transaction; never updated by delivery.
-- payload and payload_bytes both NULL = tombstone. Leave position to SQLite: there is one writer at a
-- time, so AUTOINCREMENT order is the order of commits, and it never gives a number twice, also after
-- all rows were cleared. Small columns first, so that reading them touches no overflow page.
-- That payload and headers are JSON is asked by the reader, not here: with json_valid() in a CHECK,
-- SQLite 3.38 to 3.41 cannot open the database at all under PRAGMA trusted_schema = off.
-- The CHECKs and the trigger cost 7 % of a transaction with one event, 2 us an event in a large one.
CREATE TABLE posthorn_outbox (
    position       INTEGER PRIMARY KEY AUTOINCREMENT
        CONSTRAINT position_is_positive CHECK (position > 0),
    event_id       TEXT    NOT NULL DEFAULT
        (printf('%08x-%04x-4%03x-%04x-%012x', random() & 4294967295, random() & 65535,
                random() & 4095, 32768 | (random() & 16383), random() & 281474976710655))
        CONSTRAINT event_id_is_a_uuid CHECK (length(event_id) = 36),
    created_at     INTEGER NOT NULL DEFAULT
        (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
        CONSTRAINT created_at_is_in_milliseconds CHECK (typeof(created_at) = 'integer'),
    deliver_after  INTEGER,
    aggregate_type TEXT    NOT NULL
        CONSTRAINT aggregate_type_is_a_text
        CHECK (aggregate_type <> '' AND typeof(aggregate_type) = 'text'),
    aggregate_id   TEXT    NOT NULL
        CONSTRAINT aggregate_id_is_a_text
        CHECK (aggregate_id <> '' AND typeof(aggregate_id) = 'text'),
    event_type     TEXT    NOT NULL
        CONSTRAINT event_type_is_a_text
        CHECK (event_type <> '' AND typeof(event_type) = 'text'),
    content_type   TEXT,
    headers        TEXT    NOT NULL DEFAULT '{}'
        CONSTRAINT headers_is_a_json_object
        CHECK (headers <> '' AND typeof(headers) = 'text'),
    payload        TEXT
        CONSTRAINT payload_is_json CHECK (payload <> '' AND typeof(payload) <> 'blob'),
    payload_bytes  BLOB
        CONSTRAINT payload_or_payload_bytes CHECK (payload_bytes IS NULL OR payload IS NULL)
);

-- A number that was given already may lie behind the readers and never be sent: INSERT OR REPLACE of
-- the newest row, or a row put back after its DELETE. (The sequence moves on after this trigger.)
CREATE TRIGGER posthorn_outbox_position AFTER INSERT ON posthorn_outbox
WHEN new.position <= (SELECT seq FROM sqlite_sequence WHERE name = 'posthorn_outbox')
BEGIN
    SELECT RAISE(ABORT, 'posthorn_outbox: leave position to SQLite');
END;

-- Moved down an event would be lost, moved up it would be sent again.
CREATE TRIGGER posthorn_outbox_stays BEFORE UPDATE OF position ON posthorn_outbox
WHEN new.position <> old.position
BEGIN
    SELECT RAISE(ABORT, 'posthorn_outbox: a position does not change');
END;

-- 3. The readers --------------------------------------------------------------------------------

-- Everything up to and including position is settled. tick is 1: SQLite needs none.
CREATE TABLE posthorn_checkpoint (
    pipeline       TEXT    NOT NULL CHECK (pipeline <> ''),
    shard          INTEGER NOT NULL DEFAULT 0 CHECK (shard >= 0),
    tick           INTEGER NOT NULL DEFAULT 1,
    position       INTEGER NOT NULL,
    start_position INTEGER NOT NULL,
    epoch          INTEGER NOT NULL DEFAULT 0,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (pipeline, shard)
) WITHOUT ROWID;

-- Judged by the time since boot, which nobody sets: expires_boot_us on the machine's boot boot_id. A
-- lease of another boot has no owner any more. expires_at says the same for people.
CREATE TABLE posthorn_lease (
    pipeline        TEXT    NOT NULL CHECK (pipeline <> ''),
    shard           INTEGER NOT NULL DEFAULT 0 CHECK (shard >= 0),
    owner           TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    boot_id         TEXT    NOT NULL,
    expires_boot_us INTEGER NOT NULL,
    expires_at      INTEGER,
    retention_ms    INTEGER NOT NULL, -- how long this pipeline wants settled events kept
    last_error_at   INTEGER,
    last_error      TEXT,
    PRIMARY KEY (pipeline, shard)
) WITHOUT ROWID;

-- An event that left the flow, with all that is needed to send or show it after its row is gone.
CREATE TABLE posthorn_parked (
    pipeline        TEXT    NOT NULL,
    shard           INTEGER NOT NULL DEFAULT 0,
    tick            INTEGER NOT NULL DEFAULT 1,
    position        INTEGER NOT NULL,
    key             TEXT,
    state           TEXT    NOT NULL
        CHECK (state IN ('parked', 'dead', 'sent', 'discarded', 'skipped')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
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

-- 4. What people did ----------------------------------------------------------------------------

CREATE TABLE posthorn_audit (
    at     INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    act    TEXT    NOT NULL,
    reason TEXT,
    detail TEXT
);

CREATE TRIGGER posthorn_audit_no_update BEFORE UPDATE ON posthorn_audit
BEGIN
    SELECT RAISE(ABORT, 'posthorn_audit: rows are only added');
END;
CREATE TRIGGER posthorn_audit_no_delete BEFORE DELETE ON posthorn_audit
BEGIN
    SELECT RAISE(ABORT, 'posthorn_audit: rows are only added');
END;
