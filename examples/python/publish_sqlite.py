"""An order and its event in one transaction: python3 publish_sqlite.py FILE ORDER-ID [fail]"""
import json
import sqlite3
import sys


def place_order(conn, order_id, fail):
    with conn:  # commits at the end, rolls back when something is raised
        conn.execute("INSERT INTO shop_order (id, status) VALUES (?, 'placed')", (order_id,))
        conn.execute(
            "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload, headers)"
            " VALUES (?, ?, ?, ?, ?)",
            ("order", order_id, "OrderPlaced", json.dumps({"orderId": order_id}), json.dumps({"service": "orders"})))
        if fail:
            raise RuntimeError("the order failed, and so did its event")


place_order(sqlite3.connect(sys.argv[1], timeout=5), sys.argv[2], "fail" in sys.argv[3:])
