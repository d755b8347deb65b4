"""Where rows 4, 6, 7, 8, 12 and 13 happen: a PostgreSQL, a broker, proxies in front of both where asked, and a run of eight writers and a
relay between them.

    @pytest.fixture(scope="module")
    def site():
        with Site(proxied=True) as site:
            yield site

    with Run(posthorn, site, delivery) as run:                 # a database, a topic and a relay of its own, and writers
        ...                                                    # the fault
        run.mark()
        run.must_progress(30, "the fault")                     # what was committed at the mark has arrived
        result = run.finish()                                  # all delivered; ledger.check() and posthorn verify

The writers, the readers and the status command go past the proxies: what a proxy breaks is the relay's alone.
"""
import contextlib
import uuid

import psycopg

from ledger import Writers
from proxy import Proxy
from scene import Scene, new_rng
from servers import Kafka, Postgres, within

# A broker that is back is found again soon; librdkafka's own pauses would make most of a short test.
QUICK_KAFKA = {"sink.kafka.reconnect.backoff.max.ms": 200}


class Site(contextlib.ExitStack):
    """The servers of a test file, each on its own folder; started on entry."""

    def __init__(self, proxied=False, pg=None, broker=None):
        super().__init__()
        self.proxied = proxied
        self.pg, self.broker = pg or Postgres(15), broker or Kafka(proxied=proxied)
        self.pg_proxy = self.kafka_proxy = None

    def __enter__(self):
        super().__enter__()
        self.enter_context(self.pg)
        self.enter_context(self.broker)
        if self.proxied:
            self.pg_proxy = self.enter_context(Proxy(self.pg.port))
            self.kafka_proxy = self.enter_context(Proxy(self.broker.proxied_port, self.broker.advertised_port, kafka=True))
        return self

    @property
    def proxies(self):
        return [self.pg_proxy, self.kafka_proxy]

    def heal(self):
        for proxy in self.proxies:
            proxy.heal()


class Run(Scene):
    """A scene on a site, with a database and writers of its own. rng makes the run's choices; more are settings of the relay."""

    def __init__(self, posthorn, site, delivery, rate=300, env=None, **more):
        self.site, self.env, self.marked = site, env, None
        self.seed, self.rng = new_rng()
        self.own = contextlib.ExitStack()
        try:
            db = self.own.enter_context(site.pg.fresh_database())
            super().__init__(posthorn, db, site.broker, delivery, keep=True, **{**QUICK_KAFKA, **more})
        except BaseException:
            self.own.close()
            raise
        self.writers = Writers(db.dsn(), count=8, keys=40, rate=rate, seed=self.seed)

    def __enter__(self):
        self.writers.start()
        self.mark()
        return self

    def __exit__(self, *exc):
        self.writers.stop(raising=False)
        super().__exit__(*exc)
        self.relay.kill9()
        # where the test failed, its server may be down, and that is not what is to be told
        with contextlib.suppress(psycopg.Error) if exc[0] else contextlib.nullcontext():
            self.own.close()

    def new_relay(self, env=None):
        proxy = self.site.pg_proxy
        source = self.db.dsn().replace(f":{self.site.pg.port}/", f":{proxy.port}/") if proxy else self.db.dsn()
        sink = self.broker.proxied_uri if self.site.kafka_proxy else self.broker.uri
        return self.posthorn.start_relay(source, sink, name=self.name, settings=self.settings, env=env or self.env)

    def mark(self):
        """Commits one event besides the writers' own."""
        self.marked = str(uuid.uuid4())
        self.db.sql("SELECT posthorn.publish('Mark', 'mark', 'Marked', '{}', event_id => %s)", self.marked)

    def progressed(self, seconds=30):
        """Whether a consumer was given the mark, within that time; the relay must be alive."""
        moved = within(seconds, lambda: self.marked in self.reader.arrived or not self.relay.running())
        assert self.relay.running(), f"the relay ended by itself with {self.relay.status}: {self.relay.log[-3000:]}"
        return moved

    def must_progress(self, seconds, behind):
        assert self.progressed(seconds), f"seed {self.seed}: nothing delivered for {seconds} s behind {behind}:\n{self.relay.log[-4000:]}"

    def finish(self, timeout=120, verify=True):
        """Ends the writers, waits until nothing lags, stops the relay, and compares all that is there with all that was committed."""
        self.writers.stop()
        result = super().finish(self.writers, timeout)
        assert not verify or self.verify()["ok"], f"seed {self.seed}: {result}"
        return result
