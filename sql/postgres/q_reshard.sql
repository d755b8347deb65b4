-- Gives pipeline $1 $2 shards: $3 who, $4 why or NULL.
SELECT shards_before, parked FROM posthorn.reshard($1, $2::int, $3, $4)
