"""An order and its event in one transaction: python3 publish_postgres.py CONNINFO ORDER-ID [fail]"""
import sys

import psycopg
from psycopg.types.json import Jsonb


def place_order(conn, order_id, fail):
    with conn.transaction():  # commits at the end, rolls back when something is raised
        conn.execute("INSERT INTO shop_order (id, status) VALUES (%s, 'placed')", (order_id,))
        conn.execute(
            "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)"
            " VALUES (%s, %s, %s, %s, %s)",
            ("order", order_id, "OrderPlaced", Jsonb({"orderId": order_id}), Jsonb({"service": "orders"})))
        if fail:
            raise RuntimeError("the order failed, and so did its event")


with psycopg.connect(sys.argv[1]) as connection:
    place_order(connection, sys.argv[2], "fail" in sys.argv[3:])
