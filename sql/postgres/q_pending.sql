-- Is a row visible that was not in an earlier snapshot? $1 = that snapshot's xmax, $2 = those of its open transactions which are over now.
SELECT EXISTS (SELECT FROM posthorn.outbox WHERE xid >= $1::xid8)
    OR EXISTS (SELECT FROM posthorn.outbox WHERE xid = ANY ($2::xid8[]))
