-- What q_cleanup.sql would do; $1 = milliseconds, NULL for the retention in force. In a read-only transaction.
SELECT p.ring, p.bucket, p.action, p.reason, p.events
  FROM posthorn.maintain_plan($1::bigint * interval '1 millisecond') p
 ORDER BY p.ring, p.bucket
