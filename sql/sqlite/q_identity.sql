SELECT schema_version, log_id FROM posthorn_meta
