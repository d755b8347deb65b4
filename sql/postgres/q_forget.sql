-- Forgets pipeline $1: $2 who, $3 why or NULL, $4 whether parked events may be lost.
SELECT posthorn.forget($1, $2, $3, $4::boolean)
