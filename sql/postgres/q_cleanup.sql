-- Clears what may go; $1 = milliseconds, NULL for the retention in force. In a READ COMMITTED transaction.
SELECT d.ring, d.bucket, d.action, d.reason
  FROM posthorn.maintain($1::bigint * interval '1 millisecond') d
 ORDER BY d.ring, d.bucket
