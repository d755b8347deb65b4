-- Clears buckets in which all is settled and older than the retention. READ COMMITTED, whatever the session's default is: the second
-- look under the lock needs a snapshot of its own.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT posthorn.set_retention(:retention_ms * interval '1 millisecond');
COMMIT;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT bucket, action, reason FROM posthorn.maintain(:retention_ms * interval '1 millisecond');
COMMIT
