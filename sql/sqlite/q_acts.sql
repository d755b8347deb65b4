-- People changed rows of pipeline ?1 (NULL: of any): the relays look again.
UPDATE posthorn_pipeline SET acts = acts + 1 WHERE ?1 IS NULL OR pipeline = ?1
