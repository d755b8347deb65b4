#!/usr/bin/python3
"""A shop for the demo: some threads place orders for a while, each with its event in one transaction.

usage: demo_orders.py DSN --seconds 10 --result FILE

Every tenth order or so is rolled back behind its event, as happens in life: neither may be seen afterwards.
Prints one line a second, and writes {"committed": N, "rolledBack": N} to FILE.
"""

import argparse
import json
import random
import sys
import threading
import time

import psycopg

SHOP = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer integer NOT NULL,
    item text NOT NULL,
    amount_cents integer NOT NULL
);
"""
ITEMS = ("lantern", "saddle", "post bag", "horn", "map of the route", "riding boots")
CUSTOMERS = 200
THREADS = 4
PAUSE_MAX_S = 0.01
ROLLED_BACK = 0.1


class Shop:
    def __init__(self, dsn, seconds):
        self.dsn, self.end = dsn, time.monotonic() + seconds
        self.lock = threading.Lock()
        self.committed = self.rolled_back = 0
        self.failure = None

    def order(self, conn, rng):
        """One order and its event: both, or neither."""
        customer, item, amount = rng.randrange(CUSTOMERS), rng.choice(ITEMS), rng.randrange(100, 20_000)
        (order_id,) = conn.execute(
            "INSERT INTO shop.orders (customer, item, amount_cents) VALUES (%s, %s, %s) RETURNING id",
            (customer, item, amount)).fetchone()
        payload = {"order": order_id, "customer": customer, "item": item, "amountCents": amount}
        conn.execute("SELECT posthorn.publish('order', %s, 'OrderPlaced', %s::jsonb)",
                     (f"customer-{customer}", json.dumps(payload)))
        if rng.random() < ROLLED_BACK:
            conn.rollback()
            return False
        conn.commit()
        return True

    def sell(self):
        rng = random.Random()
        try:
            with psycopg.connect(self.dsn, connect_timeout=10) as conn:
                while time.monotonic() < self.end and self.failure is None:
                    committed = self.order(conn, rng)
                    with self.lock:
                        self.committed += committed
                        self.rolled_back += not committed
                    time.sleep(rng.random() * PAUSE_MAX_S)
        except psycopg.Error as error:
            self.failure = error

    def run(self):
        with psycopg.connect(self.dsn, connect_timeout=10) as conn:
            conn.execute(SHOP)
        threads = [threading.Thread(target=self.sell) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while threads[0].is_alive():
            threads[0].join(1)
            print(f"  {time.monotonic() - began:2.0f} s: {self.committed} orders committed,"
                  f" {self.rolled_back} rolled back", flush=True)
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--result", required=True)
    words = parser.parse_args()
    shop = Shop(words.dsn, words.seconds)
    try:
        shop.run()
    except psycopg.Error as error:
        print(f"demo_orders.py: {error}", file=sys.stderr)
        return 69
    with open(words.result, "w", encoding="utf-8") as out:
        json.dump({"committed": shop.committed, "rolledBack": shop.rolled_back}, out)
        out.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
