INSERT INTO posthorn_audit (at, who, act, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)
