"""Leases of a PostgreSQL pipeline: how instances share its shards, what a claim and a renewal say."""

import threading

import pytest
from psycopg import errors

from parking_rows import ask, checkpoint, lease
from schema_db import install, make_tick, one, waits_for_lock
from servers import until


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        lease(conn)
        yield conn


# -- leases and shares ----------------------------------------------------------------------------


def renew(conn, shard, shards, owner, instance, epoch, lease_ms=10000, error=None):
    """(paused, excess) or None when the lease is another's."""
    return ask(conn, "q_lease_renew", "p", shard, shards, owner, instance, epoch, lease_ms, error).fetchone()


def release(conn, shard, owner, epoch, instance):
    ask(conn, "q_lease_release", "p", shard, owner, epoch, None, instance, True)


class Instances:
    """Instances of one pipeline, each with the leases it has; a round is a look of each at every shard."""

    def __init__(self, conn, shards):
        self.conn, self.shards, self.owned = conn, shards, {}

    def join(self, name):
        self.owned[name] = {}

    def leave(self, name):
        for shard, epoch in self.owned.pop(name).items():
            release(self.conn, shard, f"{name}/{shard}", epoch, name)

    def round(self):
        """Whether anything moved."""
        moved = False
        for name, mine in self.owned.items():
            for shard in range(self.shards):
                if shard not in mine:
                    epoch = lease(self.conn, shard=shard, shards=self.shards, owner=f"{name}/{shard}", instance=name)
                    if epoch is not None:
                        mine[shard] = epoch
                        moved = True
                elif renew(self.conn, shard, self.shards, f"{name}/{shard}", name, mine[shard])[1]:
                    release(self.conn, shard, f"{name}/{shard}", mine.pop(shard), name)
                    moved = True
        return moved

    def settle(self):
        rounds, quiet = 0, 0
        while quiet < 2:  # who came last is seen by the others in the next round
            quiet = 0 if self.round() else quiet + 1
            rounds += 1
            assert rounds < 20, f"leases go round: {self.owned}"
        owned = sorted(s for mine in self.owned.values() for s in mine)
        assert owned == list(range(self.shards)), "each shard has one owner"
        return sorted((len(mine) for mine in self.owned.values()), reverse=True)


@pytest.mark.parametrize("shards", range(2, 9))
def test_instances_share_the_shards(db, shards):
    with db.connect() as c:
        all_of_them = Instances(c, shards)
        for count in (1, 2, 3, 4):
            all_of_them.join(f"i{count}")
            got, share = all_of_them.settle(), -(-shards // count)
            assert max(got) <= share and sum(got) == shards, (count, got)
        for count in (3, 2, 1):
            all_of_them.leave(f"i{4 - count}")
            got, share = all_of_them.settle(), -(-shards // count)
            assert max(got) <= share and sum(got) == shards, (count, got)


def test_one_shard_has_no_members(c):
    assert lease(c, owner="host:1") == 2
    assert renew(c, 0, 1, "host:1", "a", 2) == (False, False)
    assert lease(c, owner="host:2", instance="b") is None
    assert one(c, "SELECT count(*) FROM posthorn.member") == 0
    assert one(c, "SELECT shards, paused_at FROM posthorn.pipeline WHERE pipeline = 'p'") == (1, None)
    release(c, 0, "host:1", 2, "a")
    assert lease(c, owner="host:2", instance="b") == 3


def test_an_instance_that_is_gone_leaves_its_share(db):
    with db.connect() as c:
        assert lease(c, shard=0, shards=2, owner="a0", instance="a", lease_ms=10000) == 1
        assert lease(c, shard=1, shards=2, owner="b1", instance="b", lease_ms=1) == 1  # and is killed
        until(lambda: lease(c, shard=1, shards=2, owner="a1", instance="a") == 2)
        assert renew(c, 1, 2, "b1", "b", 1) is None, "fenced"


def test_leases_of_one_instance_claimed_at_once_keep_to_its_share(db):
    """Eight threads of one process claim eight shards while another instance is there: four at most."""
    with db.connect() as c:
        assert lease(c, shard=0, shards=8, owner="other", instance="other")
        got, barrier = [], threading.Barrier(7)

        def claim(shard):
            with db.connect() as mine:
                barrier.wait(20)
                got.append(lease(mine, shard=shard, shards=8, owner=f"a{shard}", instance="a"))

        threads = [threading.Thread(target=claim, args=[s]) for s in range(1, 8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
    assert sorted(e is not None for e in got) == [False] * 3 + [True] * 4


def test_leases_that_cross_do_not_deadlock(db):
    """Claims, renewals and releases of two instances over four shards, at once, for two seconds."""
    failures, stop = [], threading.Event()

    def work(instance, shard):
        try:
            with db.connect() as mine:
                mine.execute("SET deadlock_timeout = '20ms'")
                while not stop.is_set():
                    owner = f"{instance}{shard}"
                    epoch = lease(mine, shard=shard, shards=4, owner=owner, instance=instance, lease_ms=5)
                    if epoch is not None:
                        renew(mine, shard, 4, owner, instance, epoch, lease_ms=5)
                        release(mine, shard, owner, epoch, instance)
        except errors.Error as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=[i, s]) for i in "ab" for s in range(4)]
    for t in threads:
        t.start()
    stop.wait(2)
    stop.set()
    for t in threads:
        t.join(30)
    assert not failures


def test_claim_and_renew_say_that_it_is_paused(c):
    c.execute("UPDATE posthorn.pipeline SET paused_at = now()")
    assert ask(c, "q_lease_claim", "p", 0, 1, "host:1", "a", 10000, 1000).fetchone() == (2, True)
    assert renew(c, 0, 1, "host:1", "a", 2) == (True, False)
    c.execute("UPDATE posthorn.pipeline SET paused_at = NULL")
    assert renew(c, 0, 1, "host:1", "a", 2, error="broker down") == (False, False)
    assert one(c, "SELECT last_error FROM posthorn.lease") == "broker down"


def test_a_claim_beside_a_forget_leaves_a_whole_pipeline(db, c):
    checkpoint(c)
    c.execute("UPDATE posthorn.lease SET expires_at = '-infinity', epoch = 7")
    with db.connect() as person, db.connect() as other:
        person.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert one(person, "SELECT posthorn.forget('p', 'me')")
        said = []
        going = threading.Thread(target=lambda: said.append(lease(other, owner="host:2")))
        going.start()
        waits_for_lock(c, other)
        person.execute("COMMIT")
        going.join(20)
    assert said == [8]
    assert one(c, "SELECT shards FROM posthorn.pipeline WHERE pipeline = 'p'") == 1


def test_first_checkpoints_are_made_together(c):
    tick, snapshot = make_tick(c)
    ask(c, "q_begin_shards", "p", 4, tick, snapshot, 1)
    later, newer = make_tick(c, tick)
    ask(c, "q_begin_shards", "p", 4, later, newer, 1)
    rows = c.execute("SELECT shard, tick, position, snapshot, base_snapshot, start_snapshot, epoch FROM posthorn.checkpoint"
                     " ORDER BY shard").fetchall()
    assert rows == [(n, tick, 0, snapshot, snapshot, snapshot, 0) for n in range(4)]
