"""kill -9 of a daemon with three lanes over one log, and of PostgreSQL, between reloads that change one of the lanes, while eight writers
commit. Each lane must have exactly its part of the log: nothing lost, phantom, in a wrong lane, or out of order.

POSTHORN_FAULTS=full runs 100 kills; otherwise a smoke of 12. POSTHORN_SEED repeats a run's choices.
"""
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Writers, check, delivered_ndjson, read_ndjson  # noqa: E402
from servers import Postgres, until  # noqa: E402

FULL = os.environ.get("POSTHORN_FAULTS") == "full"
KILLS = 100 if FULL else 12
LANES = {"urgent": {"aggregate_type": "urgent"}, "calm": {"aggregate_type": "!urgent"}, "all": None}


class Scene:
    def __init__(self, posthorn, pg, db, folder, rng):
        self.posthorn, self.pg, self.db, self.folder, self.rng = posthorn, pg, db, folder, rng
        self.done, self.hits = Counter(), 0
        self.daemon = posthorn.start_daemon(self.configure())

    def out(self, lane):
        return self.folder / f"{lane}.ndjson"

    def configure(self):
        """The lane `calm` has other values each time."""
        def lane(name, match):
            more = {"match": match} if match else {}
            if name == "calm":
                more["settle_interval"] = f"{self.rng.randrange(20, 200)}ms"
            return {"source": {"uri": self.db.dsn()}, "sink": {"uri": f"file:{self.out(name)}"},
                    "lease": "500ms", "batch_events": 100, "backoff_max": "500ms", **more}
        path = self.folder / "posthorn.yaml"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"pipelines": {name: lane(name, match) for name, match in LANES.items()}}))
        new.chmod(0o600)
        new.replace(path)
        return path

    def sizes(self):
        return [self.out(lane).stat().st_size if self.out(lane).exists() else 0 for lane in LANES]

    def fault(self):
        """One fault, once all lanes have moved since the one before: else it proves nothing."""
        before = self.sizes()
        until(lambda: all(now > then for now, then in zip(self.sizes(), before)), 60, "all lanes to move")
        self.hits += 1
        time.sleep(self.rng.random() * 0.3)  # the moment is the random variable
        what = self.rng.choices(["daemon", "postgres", "reload"], [6, 1, 3])[0]
        self.done[what] += 1
        if what == "daemon":
            self.daemon.kill9()
            self.daemon = self.posthorn.start_daemon(self.configure())
        elif what == "postgres":
            self.pg.kill9()
            self.pg.start()
        else:
            mark = len(self.daemon.log)
            self.configure()
            self.daemon.signal(signal.SIGHUP)
            self.daemon.wait_log("configuration was read again", start=mark)
        assert self.daemon.running(), self.daemon.log[-2000:]


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 300)
def test_lanes_survive_kills_and_reloads(posthorn, tmp_path):
    seed = int(os.environ.get("POSTHORN_SEED", random.randrange(1 << 32)))
    print(f"POSTHORN_SEED={seed}")
    with Postgres(15) as pg, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        scene = Scene(posthorn, pg, db, tmp_path, random.Random(seed))
        scene.daemon.wait_log("pipeline=all .*delivering from")
        parts = [Writers(db.dsn(), count=4, keys=20, name=kind, aggregate_type=kind, rate=150, seed=seed + n)
                 for n, kind in enumerate(("urgent", "relaxed"))]
        with parts[0], parts[1]:
            for _ in range(KILLS):
                scene.fault()
        for lane in LANES:
            posthorn.wait_drained(db.dsn(), lane, timeout=60)
        assert scene.daemon.stop() == 0
        assert scene.hits == KILLS and scene.done["daemon"] > 0
        for lane, kinds in [("urgent", ["urgent"]), ("calm", ["relaxed"]), ("all", ["urgent", "relaxed"])]:
            assert {event["aggregateType"] for event in read_ndjson(scene.out(lane))} == set(kinds), lane
            for writers in (w for w in parts if w.name in kinds):
                result = check(writers.ledger, delivered_ndjson(scene.out(lane), writers.name))
                print(f"{lane}, {writers.name}: {result}")
                assert result.clean, f"seed {seed}, lane {lane}: {result}"
            found = posthorn.json("verify", "-c", tmp_path / "posthorn.yaml", "--name", lane)
            assert found["ok"] and found["missing"] == 0 and found["events"] > 0, (lane, found)
        print(f"faults {dict(scene.done)}, all behind progress of every lane")
