-- Clears buckets in which all is settled and older than the retention in force, and than :retention_ms, the pipeline's own wish. READ COMMITTED, whatever the session's default is: the second
-- look under the lock needs a snapshot of its own.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT posthorn.fit_retention();
COMMIT;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT d.bucket, d.action, d.reason
  FROM posthorn.meta m, posthorn.maintain(greatest(m.retention, :retention_ms * interval '1 millisecond')) d;
COMMIT
