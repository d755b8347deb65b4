SELECT shards FROM posthorn.pipeline WHERE pipeline = $1
