-- Dead rows are given up; parameters as in q_redrive.sql, without the rate.
SELECT posthorn.discard($1, $7, $8, $2, $3, pg_catalog.to_timestamp($4::numeric / 1000000), $5, $6::uuid, $9::boolean)
