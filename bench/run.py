"""make bench: the figures of docs/benchmarks.md, one JSON line each.

usage: bench/run.py [--delivery exactly-once] [drain] [settled] [behind] [parked] [scheduled] [poll] [latency] [idle] [publish]
                                              [hold] [recovery] [backlog] [large]          (default: all of the first line)
Sizes by environment: BENCH_EVENTS (1000000), BENCH_ROUNDS (5), BENCH_SETTLED (20000000), BENCH_HOLD_S (600), BENCH_KILLS (100),
BENCH_BACKLOG (2000000), BENCH_DOWN_S (60), BENCH_LARGE_ROWS (1000000), BENCH_LARGE_MB (500), BENCH_LARGE_KILLS (20).
"""
import argparse
import os
import time

from bench import Live, Stage, floor, machine, median, relay, relay_command, run, say
from latency import measure_latency, measure_scheduled
from outages import bench_backlog, bench_large, bench_recovery

EVENTS = int(os.environ.get("BENCH_EVENTS", 1_000_000))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 5))
SETTLED = int(os.environ.get("BENCH_SETTLED", 20_000_000))
HOLD_S = int(os.environ.get("BENCH_HOLD_S", 600))


def interleave(stage, what, uri, after=0, sets=()):
    """Floor and relay in turns; the order changes from round to round."""
    floors, rates, ratios, rss = [], [], [], []
    for i in range(ROUNDS):
        def relay_round():
            return relay(stage, uri, f"{what}{i}", *sets)
        ours = relay_round() if i % 2 else None
        count, base = floor(stage, uri, after)
        ours = ours or relay_round()
        assert ours["events"] == count, f"the relay sent {ours['events']} events, the floor {count}"
        floors.append(base)
        rates.append(ours["rate"])
        ratios.append(ours["rate"] / base)
        rss.append(ours["rss_mib"])
        say(bench=what, round=i, floor=round(base), posthorn=round(ours["rate"]), ratio=round(ratios[-1], 3),
            rss_mib=round(ours["rss_mib"], 1), cpu_s=round(ours["cpu_s"], 2))
    say(bench=what, rounds=ROUNDS, events=count, floor=round(median(floors)), posthorn=round(median(rates)),
        ratio=round(median(ratios), 3), peak_rss_mib=round(max(rss), 1))


def bench_drain(stage):
    uri = stage.database("drain")
    stage.fill("drain", EVENTS)
    floor(stage, uri)  # warms the broker and the cache
    interleave(stage, "drain", uri)


def bench_settled(stage):
    """The same backlog behind settled rows in eight other buckets."""
    uri = stage.database("settled")
    today = stage.pg.sql("SELECT (extract(epoch FROM now())::bigint / 86400) % 10", database="settled")[0][0]
    for i in range(8):
        stage.fill("settled", SETTLED // 8, bucket=int((today + 1 + i) % 10), transaction=50_000)
    stage.pg.sql("SELECT posthorn.make_tick(0)", database="settled")
    before = stage.pg.sql("SELECT max(position) FROM posthorn.outbox", database="settled")[0][0]
    at = stage.pg.sql("SELECT clock_timestamp()::text", database="settled")[0][0].replace(" ", "T")
    stage.fill("settled", EVENTS)
    interleave(stage, "settled", uri, after=before, sets=[f"start={iso(at)}"])


def iso(text):
    """2026-11-21T04:28:09.1+00 -> 2026-11-21T04:28:09.1+00:00"""
    return text if text[-3] == ":" else text + ":00"


def bench_behind(stage):
    """20,000 ticks behind: every fifty events a tick of their own."""
    uri = stage.database("behind")
    ticks = min(20_000, EVENTS // 50)
    with stage.pg.connect("behind") as conn:
        conn.execute("SET synchronous_commit = off")
        for i in range(ticks):
            conn.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', "
                         "'order-' || (i::bigint * 7919 % 10000), 'OrderPlaced', jsonb_build_object('orderId', i, 'note', repeat('x', 160)) "
                         f"FROM generate_series({i * 50}, {i * 50 + 49}) i")
            conn.execute("SELECT posthorn.make_tick(9223372036854775807)")
    stage.pg.sql("VACUUM ANALYZE posthorn.outbox", database="behind")
    interleave(stage, "behind", uri)


PARKED = """INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, key, state, attempts, last_error, xid,
            created_at, event_id, aggregate_type, aggregate_id, event_type, payload)
            SELECT %s, 0, i - 100001, 0, i - 100001, 'stuck', CASE i WHEN 1 THEN 'dead' ELSE 'parked' END, 1, 'too large', '3', now(), gen_random_uuid(),
                   'Order', 'stuck', 'OrderPlaced', jsonb_build_object('note', repeat('x', 160)) FROM generate_series(1, 100000) i"""


def bench_parked(stage):
    """A drain while 100,000 events of a stuck key are parked, against one without, in turns. Learning of them at the start is included."""
    uri = stage.database("parked")
    stage.fill("parked", EVENTS)
    relay(stage, uri, "warm")
    rates, ratios = {"free": [], "parked": []}, []
    for i in range(ROUNDS):
        for what in ("free", "parked") if i % 2 else ("parked", "free"):
            name = f"{what}{i}"
            if what == "parked":
                with stage.pg.connect("parked") as conn:
                    conn.execute("INSERT INTO posthorn.pipeline (pipeline) VALUES (%s)", [name])
                    conn.execute(PARKED, [name])
                stage.pg.sql("VACUUM ANALYZE posthorn.parked", database="parked")
            done = relay(stage, uri, name, status=65 if what == "parked" else 0)
            assert done["events"] == EVENTS
            rates[what].append(done["rate"])
        ratios.append(rates["parked"][-1] / rates["free"][-1])
        say(bench="parked", round=i, ratio=round(ratios[-1], 3), rss_mib=round(done["rss_mib"], 1))
    say(bench="parked", rounds=ROUNDS, ratio=round(median(ratios), 3), **{k: round(median(v)) for k, v in rates.items()})


def bench_scheduled(stage):
    """100,000 events with deliver_after, due over ten seconds; how late they arrive, and that their keys do not wait for them."""
    uri = stage.database("scheduled")
    say(bench="scheduled", **measure_scheduled(stage, "scheduled", uri, events=100_000, over_s=10))


def bench_poll(stage):
    """Round trips of an empty look with open transactions, and how long the server works on it."""
    stage.database("poll")
    stage.fill("poll", min(EVENTS, 200_000))
    for count in (0, 20, 500):
        open_ones = [stage.pg.connect("poll", autocommit=False) for _ in range(count)]
        for conn in open_ones:
            conn.execute("SELECT pg_current_xact_id()")
        say(bench="poll", open_transactions=count, **look(stage, "poll"))
        for conn in open_ones:
            conn.rollback()
            conn.close()


def look(stage, name):
    """The two statements of an empty look, as the source sends them: probe always, pending when a snapshot changed."""
    probe = "SELECT pg_current_snapshot()::text, (SELECT last_value FROM posthorn.tick_tick_seq)"
    pending = ("SELECT EXISTS (SELECT FROM posthorn.outbox WHERE xid >= $1::xid8) OR EXISTS (SELECT FROM posthorn.outbox "
               "WHERE xid = ANY ($2::xid8[]))").replace("$1", "%s").replace("$2", "%s")
    with stage.pg.connect(name) as conn:
        conn.prepare_threshold = None
        xmax = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()[0]
        times = {"probe_ms": [], "pending_ms": []}
        for _ in range(500):
            begun = time.perf_counter()
            conn.execute(probe).fetchall()
            middle = time.perf_counter()
            assert conn.execute(pending, (xmax, "{}")).fetchone()[0] is False
            times["probe_ms"].append((middle - begun) * 1000)
            times["pending_ms"].append((time.perf_counter() - middle) * 1000)
    both = [a + b for a, b in zip(times["probe_ms"], times["pending_ms"])]
    return {name: round(median(values), 3) for name, values in times.items()} | {"both_ms": round(median(both), 3)}


def bench_latency(stage):
    uri = stage.database("latency")
    for rate in (200, 1000):
        say(bench="latency", **measure_latency(stage, "latency", uri, rate, seconds=20))


def bench_hold(stage):
    """The same while a REPEATABLE READ transaction with a transaction id stays open."""
    uri = stage.database("hold")
    with stage.pg.connect("hold", autocommit=False) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT pg_current_xact_id(), count(*) FROM posthorn.outbox")
        end = time.monotonic() + HOLD_S
        say(bench="hold", held_s=0, **measure_latency(stage, "hold", uri, 200, seconds=20))
        while time.monotonic() < end - 40:
            measure_latency(stage, "hold", uri, 200, seconds=20)
        say(bench="hold", held_s=HOLD_S, **measure_latency(stage, "hold", uri, 200, seconds=20))


def bench_idle(stage):
    uri = stage.database("idle")
    with Live(relay_command(stage, uri, "idle", stage.topic())) as live:
        time.sleep(3)  # a measured span, not a wait for a condition
        before, begun = live.cpu_s(), time.monotonic()
        time.sleep(20)
        say(bench="idle", cpu_share=round((live.cpu_s() - before) / (time.monotonic() - begun), 4))


def bench_publish(stage):
    """What publish() and the raw INSERT cost a writer, against an INSERT into one plain table of the same columns."""
    stage.database("publish")
    stage.pg.sql("CREATE TABLE plain (xid xid8 DEFAULT pg_current_xact_id(), position bigint GENERATED ALWAYS AS IDENTITY, "
                 "event_id uuid DEFAULT gen_random_uuid(), aggregate_type text, aggregate_id text, event_type text, payload jsonb, "
                 "headers jsonb DEFAULT '{}', created_at timestamptz DEFAULT clock_timestamp())", database="publish")
    values = "('Order', 'order-' || (random() * 9999)::int, 'OrderPlaced', '{\"orderId\": 1, \"note\": \"" + "x" * 160 + "\"}'"
    columns = "(aggregate_type, aggregate_id, event_type, payload)"
    scripts = {"plain": f"INSERT INTO plain {columns} VALUES {values});",
               "insert": f"INSERT INTO posthorn.outbox {columns} VALUES {values});",
               "publish": f"SELECT posthorn.publish{values});"}
    rates = {name: [] for name in scripts}
    for _ in range(ROUNDS):
        for name, script in scripts.items():
            rates[name].append(pgbench(stage, script))
    say(bench="publish", **{f"{name}_tps": round(median(r)) for name, r in rates.items()},
        insert_share=round(median(rates["insert"]) / median(rates["plain"]), 3),
        publish_share=round(median(rates["publish"]) / median(rates["plain"]), 3))


def pgbench(stage, script):
    path = stage.pg.folder / "script.sql"
    path.write_text("SET synchronous_commit = off;\n" + script + "\n")
    out = run(str(stage.pg.bin / "pgbench"), "-n", "-c", "4", "-j", "1", "-T", "3", "-f", str(path), stage.pg.socket_dsn("publish")).stdout
    return float(out.split("tps = ")[1].split()[0])


BENCHES = {"drain": bench_drain, "settled": bench_settled, "behind": bench_behind, "parked": bench_parked, "scheduled": bench_scheduled,
           "poll": bench_poll, "latency": bench_latency, "idle": bench_idle, "publish": bench_publish}
LONG = {"hold": bench_hold, "recovery": bench_recovery, "backlog": bench_backlog, "large": bench_large}


def main():
    parser = argparse.ArgumentParser(description="the figures of docs/benchmarks.md")
    parser.add_argument("--delivery", choices=["at-least-once", "exactly-once"], default="at-least-once")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES | LONG)}; all but the last {len(LONG)} without one")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHES | LONG]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(BENCHES | LONG)}")
    machine()
    say(delivery=args.delivery)
    with Stage(sets=[f"delivery={args.delivery}"]) as stage:
        for name in args.names or BENCHES:
            (BENCHES | LONG)[name](stage)


main()
