-- A line of the audit for an act that changes nothing here: $1 who, $2 act, $3 why or NULL, $4 a JSON object.
INSERT INTO posthorn.audit (who, act, reason, detail)
VALUES ($1, $2, $3, $4::jsonb || pg_catalog.jsonb_build_object('login', session_user))
