#!/usr/bin/python3
"""The demo of `make run`: a throw-away PostgreSQL, a shop that places orders in it, the relay that delivers
their events to a file meanwhile, and `posthorn verify`, which compares the two.

    tools/demo.py [SECONDS]

Everything it starts it stops; the file and the relay's log stay in posthorn-run/.
"""

import json
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "integration"))  # the test servers serve here too

from demo_orders import Shop  # noqa: E402
from posthorn import Posthorn, Relay  # noqa: E402
from postgres_server import Postgres, newest_debian  # noqa: E402
from proc import ServerDied, ServerMissing  # noqa: E402

FOLDER = ROOT / "posthorn-run"
EVENTS, LOG = FOLDER / "orders.ndjson", FOLDER / "relay.log"
DRAIN_SECONDS = 60
COMMAND = "build/src/cli/posthorn"


def say(text=""):
    print(text, flush=True)


def lines_in(path):
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def start_relay(command, dsn):
    for old in (EVENTS, LOG, LOG.with_suffix(".out")):
        old.unlink(missing_ok=True)
    return Relay([command.binary, "run", "--from", dsn, "--to", f"file:{EVENTS}"], command.env, LOG)


def show_progress(shop, relay, seconds):
    """One line a second; ends early when something broke."""
    for second in range(1, seconds + 1):
        shop.halt.wait(1)
        say(f"  {second:2} s  {shop.committed:6} committed  {shop.rolled_back:5} rolled back"
            f"  {lines_in(EVENTS):6} delivered")
        if shop.errors or not relay.running():
            break


def publish_and_relay(command, dsn, seconds):
    """The orders and their delivery; the shop's own count is what must have arrived."""
    shop, relay = Shop(dsn), start_relay(command, dsn)
    try:
        shop.start()
        show_progress(shop, relay, seconds)
        shop.stop()
        assert relay.running(), f"the relay ended with status {relay.status}:\n{relay.log[-3000:]}"
        say("the shop is closed; waiting until the relay has delivered the rest")
        command.wait_drained(dsn, timeout=DRAIN_SECONDS)
        status = relay.stop()
        assert status == 0, f"the relay ended with status {status}:\n{relay.log[-3000:]}"
    finally:
        relay.kill9()
    return shop


def summary(shop, found):
    say()
    say(f"  transactions committed   {shop.committed:7}")
    say(f"  rolled back              {shop.rolled_back:7}   (their events must not arrive)")
    say(f"  events delivered         {found['records']:7}")
    say()
    say(f"  missing {found['missing']}, duplicated {found['duplicated']}, out of order {found['outOfOrder']}")
    say()


def next_steps():
    say(f"The events are in {EVENTS.relative_to(ROOT)}, one JSON line each; the relay's log is {LOG.relative_to(ROOT)}.")
    say("With your own database and Kafka:")
    say(f"  {COMMAND} init postgresql://user@host/db")
    say(f"  {COMMAND} run --from postgresql://user@host/db --to kafka://host:9092")
    say("and in your transactions:  SELECT posthorn.publish('order', '42', 'OrderPlaced', '{\"total\": 9.90}')")


def demo(seconds):
    FOLDER.mkdir(exist_ok=True)
    command = Posthorn(ROOT / COMMAND)
    say("starting a throw-away PostgreSQL")
    with command, Postgres(newest_debian()) as server:
        dsn = server.dsn(server.create_database("shop"))
        say(f"$ posthorn init {dsn}")
        say(command.init(dsn).stdout.rstrip())
        say(f"$ posthorn run --from {dsn} --to file:{EVENTS.relative_to(ROOT)} &")
        say(f"a shop places orders for {seconds} s, four customers at a time; a tenth of them is rolled back")
        shop = publish_and_relay(command, dsn, seconds)
        say(f"$ posthorn verify --from {dsn} --to file:{EVENTS.relative_to(ROOT)} --strict --json")
        done = command.run("verify", "--from", dsn, "--to", f"file:{EVENTS}", "--strict", "--json")
        if done.returncode not in (0, 1):
            raise ServerDied(f"posthorn verify ended with status {done.returncode}:\n{done.stderr}")
        found = json.loads(done.stdout)
    summary(shop, found)
    if done.returncode != 0 or found["records"] != shop.committed:
        say(f"verify found something, or the counts differ: {done.stdout}{done.stderr}")
        return 1
    next_steps()
    return 0


def main(words):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return demo(int(words[0]) if words else 10)
    except (AssertionError, ServerDied, ServerMissing) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
