-- Dead rows come back: $1 pipeline, $2 event type, $3 key, $4 failed since (us), $5 pattern of the error, $6 id (NULL: any); $7 who,
-- $8 why or NULL, $9 whether only to count, $10 events a second or NULL.
SELECT posthorn.redrive($1, $7, $8, $2, $3, pg_catalog.to_timestamp($4::numeric / 1000000), $5, $6::uuid, $10::numeric, $9::boolean)
