-- Clears buckets in which all is settled and older than the retention in force, and than :retention_ms, the pipeline's own wish. READ COMMITTED, whatever the session's default is: the second
-- look under the lock needs a snapshot of its own.
-- No statement lasts longer than :limit_ms.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('statement_timeout', (:limit_ms)::text, true);
SELECT posthorn.fit_retention();
COMMIT;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('statement_timeout', (:limit_ms)::text, true);
SELECT d.bucket, d.action, d.reason
  FROM posthorn.meta m, posthorn.maintain(greatest(m.retention, :retention_ms * interval '1 millisecond')) d;
COMMIT
