-- What init must know before it changes anything.
SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()
