"""Debezium's PostgreSQL connector with the outbox event router, in a Kafka Connect worker of one process: the peer of
bench/peers.py. The jars come from tools/debezium_jars.sh. Tuned for this work: see TUNED and docs/benchmarks.md.
"""
import json
import shutil
import urllib.error
import urllib.request

from proc import Server, ServerMissing, fetch, free_port, give, spawn, until

VERSION = "3.7.0.Final"
HEAP = "512m"
START_S = 180
JVM = ["-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"]
WORKER = {
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    "connector.client.config.override.policy": "All",
    "offset.flush.interval.ms": 1000,  # 60000 is the default: more duplicates after a kill
}
TUNED = {
    "max.batch.size": 8192,
    "max.queue.size": 32768,
    "poll.interval.ms": 5,
    "statistics.metrics.enabled": "false",
    "extended.headers.enabled": "false",
    "producer.override.linger.ms": 5,
    "producer.override.batch.size": 262144,
    "producer.override.enable.idempotence": "true",
}
CONNECTOR = {
    "name": "outbox",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": 1,
    "plugin.name": "pgoutput",
    "slot.name": "debezium",
    "publication.name": "debezium",
    "publication.autocreate.mode": "filtered",
    "table.include.list": "public.outbox",
    "topic.prefix": "debezium",
    "snapshot.mode": "no_data",
    "tombstones.on.delete": "false",
    "transforms": "outbox",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.route.topic.replacement": "${routedByValue}",  # the topic is the row's aggregatetype
    "transforms.outbox.table.fields.additional.placement": "type:header:eventType",
}
LOG4J2 = """status=error
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=CONSOLE
logger.statistics.name=io.debezium.metrics.stats
logger.statistics.level=error
"""
TABLE = """CREATE TABLE outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text NOT NULL, aggregateid text NOT NULL,
           type text NOT NULL, payload jsonb)"""
BACKLOG = """INSERT INTO outbox (aggregatetype, aggregateid, type, payload)
             SELECT %(topic)s, 'order-' || (i::bigint * 7919 %% 10000), 'OrderPlaced',
                    jsonb_build_object('orderId', i, 'note', repeat('x', 160))
               FROM generate_series(%(first)s::int, %(last)s::int) i"""
PUBLISH = """INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
             VALUES (%(id)s, %(topic)s, %(key)s, 'OrderPlaced', '{"n": 1}')"""


def lines(settings):
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class Debezium(Server):
    """A worker whose connector reads the table outbox of a database from when the worker first started."""

    name = "debezium"

    def __init__(self, pg, database, kafka, heap=HEAP):
        self.java = shutil.which("java")
        if self.java is None:
            raise ServerMissing("no java here: run tools/deps.sh test")
        jars = fetch("debezium_jars.sh", VERSION)
        super().__init__("nobody")
        self.pg, self.heap, self.classpath, self.port = pg, heap, f"{jars}/*", free_port()
        (self.folder / "plugins").mkdir()
        self.write("log4j2.properties", LOG4J2)
        self.write("worker.properties", lines(WORKER | {
            "bootstrap.servers": kafka.bootstrap, "listeners": f"http://127.0.0.1:{self.port}",
            "plugin.path": self.folder / "plugins", "offset.storage.file.filename": self.folder / "offsets"}))
        self.write("connector.properties", lines(CONNECTOR | TUNED | {
            "database.hostname": "127.0.0.1", "database.port": pg.port, "database.user": "postgres",
            "database.password": "none", "database.dbname": database}))
        give(self.folder, self.user)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def launch(self):
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        self.child = spawn([self.java, f"-Xmx{self.heap}", *JVM, log4j, "-cp", self.classpath,
                            "org.apache.kafka.connect.cli.ConnectStandalone", self.folder / "worker.properties",
                            self.folder / "connector.properties"], self.user, self.folder, log=self.log_path)

    def start(self):
        """Longer than other servers may take: after kill -9 the connector tries every 10 s whether its slot is free again."""
        self.launch()
        until(lambda: self.answers() or not self.running(), START_S, "the connector")
        assert self.running(), self.log[-2000:]
        return self

    def ask(self, path, method="GET"):
        """What the worker answers, as JSON; None while it does not."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/connectors/outbox/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or "{}")
        except (urllib.error.URLError, ConnectionError):
            return None

    def reads_slot(self):
        return self.pg.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'") == [(True,)]

    def answers(self):
        """The task runs and its slot is being read, which comes later."""
        status = self.ask("status") or {"tasks": []}
        states = [task["state"] for task in status["tasks"]]
        assert "FAILED" not in states, status
        return states == ["RUNNING"] and self.reads_slot()

    def stop_task(self):
        """The worker stays warm while its connector reads nothing."""
        assert self.ask("stop", "PUT") is not None, "the worker does not answer"
        until(lambda: not (self.ask("status") or {"tasks": [1]})["tasks"] and not self.reads_slot(), 60, "the task's end")

    def resume_task(self):
        assert self.ask("resume", "PUT") is not None, "the worker does not answer"
