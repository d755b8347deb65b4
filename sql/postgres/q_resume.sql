-- Resumes pipeline $1: $2 who, $3 why or NULL.
SELECT posthorn.resume($1, $2, $3)
