UPDATE posthorn_meta SET epoch_floor = max(epoch_floor, ?1)
