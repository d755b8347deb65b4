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
    """start() opens it, stop() closes it. halt is set when it closes, errors holds what broke it."""

    def __init__(self, dsn):
        self.dsn, self.halt, self.errors = dsn, threading.Event(), []
        self.lock = threading.Lock()
        self.committed = self.rolled_back = 0
        self.threads = [threading.Thread(target=self.sell) for _ in range(THREADS)]

    def start(self):
        with psycopg.connect(self.dsn, connect_timeout=10) as conn:
            conn.execute(SHOP)
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.halt.set()
        for thread in self.threads:
            thread.join()

    def order(self, conn, rng):
        """One order and its event: both, or neither. Returns whether it was committed."""
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
                while not self.halt.wait(rng.random() * PAUSE_MAX_S):
                    committed = self.order(conn, rng)
                    with self.lock:
                        self.committed += committed
                        self.rolled_back += not committed
        except psycopg.Error as error:
            self.errors.append(error)
            self.halt.set()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--result", required=True)
    words = parser.parse_args()
    shop = Shop(words.dsn)
    try:
        shop.start()
        for second in range(1, words.seconds + 1):
            if shop.halt.wait(1):
                break
            print(f"  {second:2} s: {shop.committed} orders committed, {shop.rolled_back} rolled back", flush=True)
    except psycopg.Error as error:
        shop.errors.append(error)
    finally:
        shop.halt.set()
    if shop.errors:
        print(f"demo_orders.py: {shop.errors[0]}", file=sys.stderr)
        return 69
    shop.stop()
    with open(words.result, "w", encoding="utf-8") as out:
        json.dump({"committed": shop.committed, "rolledBack": shop.rolled_back}, out)
        out.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
