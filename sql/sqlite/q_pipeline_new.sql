INSERT INTO posthorn_pipeline (pipeline) VALUES (?1) ON CONFLICT DO NOTHING
