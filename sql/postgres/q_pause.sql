-- Pauses pipeline $1: $2 who, $3 why or NULL.
SELECT posthorn.pause($1, $2, $3)
