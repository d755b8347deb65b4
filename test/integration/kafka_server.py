"""A real Kafka broker: one KRaft node out of Maven's jars (tools/kafka_jars.sh), and what tests ask of it.

Reading goes through librdkafka (confluent_kafka); produce_java() runs Kafka's own console producer, to
compare partitions with a Java client's.
"""

import base64
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field

from proc import Server, ServerMissing, fetch, free_port, give, run_as, spawn, until

try:
    import confluent_kafka
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
except ImportError:  # the fixture says so
    confluent_kafka = None

VERSION = "4.3.1"
# A test broker lives minutes: the first compiler only, and the smallest collector.
JVM = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
       "-Djava.awt.headless=true"]
LOG4J2 = """status=error
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=CONSOLE
logger.server.name=kafka.server
logger.server.level=info
"""
ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "num.partitions": 4,
    "num.network.threads": 2,
    "num.io.threads": 2,
    "num.recovery.threads.per.data.dir": 1,
    "background.threads": 2,
    "log.cleaner.dedupe.buffer.size": 16 << 20,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 2,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 2,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 2,
    "group.initial.rebalance.delay.ms": 0,
    "auto.create.topics.enable": "true",
    # one broker that is killed and comes back at once: nobody else to wait for
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 400,
}


@dataclass(frozen=True)
class Record:
    """One record of a topic. headers is a tuple of (name, bytes); header() is the first of a name."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple = field(default=())
    timestamp_ms: int = 0

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self):
        return json.loads(self.value)


class Kafka(Server):
    """A broker on free ports. config are further lines for server.properties (a dict). With secure=True it has
    a second listener, SASL_SSL with PLAIN for the user relay, whose certificate is for the name localhost alone
    (not SCRAM: librdkafka before 2.6.1 cannot do it with Kafka 4, https://github.com/edenhill/kcat/issues/462).
    With proxied=True a second listener on proxied_port tells its clients to come to advertised_port, where the test has a
    proxy: whoever starts at proxied_uri goes through that alone, while bootstrap stays a way of the test's own."""

    name = "kafka"
    stop_signal = signal.SIGTERM

    def __init__(self, config=None, version=VERSION, secure=False, proxied=False):
        if confluent_kafka is None:
            raise ServerMissing("no python3-confluent-kafka here: run tools/deps.sh test")
        self.java = shutil.which("java")
        if self.java is None:
            raise ServerMissing("no java here: run tools/deps.sh test")
        jars = fetch("kafka_jars.sh", version)
        super().__init__("nobody")
        self.classpath = f"{jars}/*"
        self.port, self.controller_port = free_port(), free_port()
        self.properties = self.folder / "server.properties"
        self.secure_port = free_port() if secure else None
        self.ca, self.password = self.folder / "ca.pem", "pw-" + uuid.uuid4().hex
        self.proxied_port, self.advertised_port = (free_port(), free_port()) if proxied else (None, None)
        extra = (self.make_secure() if secure else {}) | (self.make_proxied() if proxied else {})
        self.configure(extra | (config or {}))

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self):
        """As --to takes it."""
        return f"kafka://{self.bootstrap}"

    def configure(self, config):
        settings = ONE_NODE | {
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": self.folder / "data",
        } | config
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (self.folder / "log4j2.properties").write_text(LOG4J2)
        give(self.folder, self.user)

    @property
    def secure_uri(self):
        return f"kafka://localhost:{self.secure_port}"

    @property
    def proxied_uri(self):
        """As --to takes it, through the proxy."""
        return f"kafka://127.0.0.1:{self.advertised_port}"

    def make_proxied(self):
        """The settings of the listener whose clients come through a proxy."""
        own = f"PLAINTEXT://127.0.0.1:{self.port},PROXIED://127.0.0.1:"
        return {
            "listeners": f"{own}{self.proxied_port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"{own}{self.advertised_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }

    def make_secure(self):
        """A certification authority, a certificate, and the settings of the listener that uses them."""
        key, cert, pem = self.folder / "key.pem", self.folder / "cert.pem", self.folder / "broker.pem"
        new_certificate(self.folder / "ca.key", self.ca, "/CN=test authority", "CA:TRUE")
        new_certificate(key, cert, "/CN=broker", "CA:FALSE", "-addext", "subjectAltName=DNS:localhost",
                        "-CA", self.ca, "-CAkey", self.folder / "ca.key")
        pem.write_text(key.read_text() + cert.read_text())
        both = f"PLAINTEXT://127.0.0.1:{self.port},SASL_SSL://{{}}:{self.secure_port}"
        return {
            "listeners": both.format("127.0.0.1") + f",CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": both.format("localhost"),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config":
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_relay="{self.password}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": pem,
        }

    def jvm(self, *args, flags=JVM):
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [self.java, *flags, log4j, "-cp", self.classpath, *args]

    def launch(self):
        if not (self.folder / "data" / "meta.properties").exists():
            run_as(self.jvm("kafka.tools.StorageTool", "format", f"--cluster-id={new_cluster_id()}",
                            "--config", self.properties), self.user, self.folder)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "JAVA_TOOL"))}
        self.child = spawn(self.jvm("kafka.Kafka", self.properties), self.user, self.folder,
                           env | {"HOME": str(self.folder)}, self.log_path)

    def answers(self):
        """The network layer answers, the controller knows the broker, and each partition has a leader."""
        if not speaks_kafka(self.port):
            return False
        try:
            found = self.admin().list_topics(timeout=5)
        except confluent_kafka.KafkaException:
            return False
        return bool(found.brokers) and all(p.leader in found.brokers
                                           for t in found.topics.values() for p in t.partitions.values())

    # -- topics --

    def admin(self):
        return AdminClient({"bootstrap.servers": self.bootstrap, "socket.timeout.ms": 10000,
                            "logger": SILENT})

    def create_topic(self, name, partitions=4, config=None):
        """Makes a topic and waits until each of its partitions has a leader; returns its name."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config or {})
        admin = self.admin()  # held: its answers die with it
        admin.create_topics([topic], operation_timeout=30)[name].result(timeout=30)

        def led():
            meta = admin.list_topics(name, timeout=10).topics[name]
            return len(meta.partitions) == partitions and all(p.leader == 1 for p in meta.partitions.values())

        until(led, 30, f"leaders of topic {name}")
        return name

    def set_topic_config(self, name, config):
        """Sets a topic's configuration to config alone."""
        resource = ConfigResource("topic", name, set_config={k: str(v) for k, v in config.items()})
        admin = self.admin()
        for answer in admin.alter_configs([resource]).values():
            answer.result(timeout=30)

    def topics(self, pattern=""):
        """Names of the topics that match a regular expression, without Kafka's own."""
        found = self.admin().list_topics(timeout=10).topics
        return sorted(t for t in found if not t.startswith("__") and re.search(pattern, t))

    # -- reading --

    def consumer(self, **config):
        """A consumer that stores no offsets and tells each partition's end."""
        return confluent_kafka.Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest",
            "logger": SILENT, **config})

    def consume_all(self, topics, timeout=60, **config):
        """All records of the topics up to the end offsets of now, by topic and partition, as Records."""
        topics = [topics] if isinstance(topics, str) else list(topics)
        consumer = self.consumer(**config)
        try:
            ends = self.end_offsets(consumer, topics)
            records = list(read_to(consumer, ends, time.monotonic() + timeout))
        finally:
            consumer.close()
        return sorted(records, key=lambda r: (r.topic, r.partition, r.offset))

    def end_offsets(self, consumer, topics):
        """{(topic, partition): (first offset, end offset)}; a topic that does not exist has none."""
        ends = {}
        for topic in topics:
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                place = confluent_kafka.TopicPartition(topic, partition)
                ends[topic, partition] = until(lambda p=place: watermarks(consumer, p), 20, f"the end of {topic}")
        return ends

    def count(self, topics):
        """How many offsets the topics hold; exact where nothing is compacted or transactional."""
        consumer = self.consumer()
        try:
            ends = self.end_offsets(consumer, [topics] if isinstance(topics, str) else topics)
        finally:
            consumer.close()
        return sum(high - low for low, high in ends.values())

    # -- Java --

    def produce_java(self, topic, keys, value="x"):
        """Sends one record per key by Kafka's Java producer, with its own partitioner."""
        lines = "".join(f"{key}\t{value}\n" for key in keys)
        argv = self.jvm("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", self.bootstrap,
                        "--topic", topic, "--reader-property", "parse.key=true",
                        "--reader-property", "key.separator=\t",
                        flags=["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        done = subprocess.run([str(a) for a in argv], input=lines, text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def java_partitions(self, topic, keys):
        """{key: partition} as a Java producer chooses them, in a topic made for the question."""
        self.produce_java(topic, keys)
        return {r.key.decode(): r.partition for r in self.consume_all(topic)}


def watermarks(consumer, place):
    """(first offset, end offset); None while the partition's leader is being made."""
    try:
        return consumer.get_watermark_offsets(place, timeout=10)
    except confluent_kafka.KafkaException as why:
        if why.args[0].code() in (confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION, confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE):
            return None
        raise


def new_certificate(key, cert, subject, constraints, *words):
    run_as(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert,
            "-subj", subject, "-addext", f"basicConstraints=critical,{constraints}", *words])


def new_cluster_id():
    """A Kafka uuid: 22 characters of base64, of which the first may be a minus."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def speaks_kafka(port):
    """Whether an ApiVersions request (version 0) is answered; a port can be open long before."""
    request = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(request)
            return len(s.recv(8)) == 8
    except OSError:
        return False


def read_to(consumer, ends, deadline):
    """Yields the records up to ends; AssertionError when the deadline comes first."""
    left = {place: high for place, (low, high) in ends.items() if high > low}
    consumer.assign([confluent_kafka.TopicPartition(t, p, ends[t, p][0]) for t, p in left])
    while left:
        assert time.monotonic() < deadline, f"not read to the end in time: {left}"
        for message in consumer.consume(1000, timeout=0.5):
            place = message.topic(), message.partition()
            error = message.error()
            if error is None and place in left and message.offset() < left[place]:
                yield to_record(message)
            elif error is not None and error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
                raise confluent_kafka.KafkaException(error)
            if place in left and message.offset() + (error is None) >= left[place]:
                del left[place]


def to_record(message):
    return Record(message.topic(), message.partition(), message.offset(), message.key(), message.value(),
                  tuple(message.headers() or ()), message.timestamp()[1])


SILENT = logging.getLogger("posthorn.kafka")  # librdkafka's complaints while a broker is down
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
