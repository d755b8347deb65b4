-- Erases aggregate $1 type, $2 id: $3 who, $4 why or NULL.
SELECT e.events + e.copies FROM posthorn.erase($1, $2, $3, $4) e
