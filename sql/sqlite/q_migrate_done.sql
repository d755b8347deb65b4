UPDATE posthorn_meta SET schema_version = ?1
