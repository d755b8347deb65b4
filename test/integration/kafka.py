"""A real Kafka broker (KRaft, one node) out of Maven artifacts, on free loopback ports, in a temporary folder."""
import os
import shutil
import signal
import subprocess
import tempfile

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from wait import ServerMissing, cache_dir, free_port, until

VERSION = os.environ.get("KAFKA_VERSION", "4.3.1")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>posthorn</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{v}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{v}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
</dependencies></project>"""
CONFIG = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{ctl}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{ctl}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
JVM = ["-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.awt.headless=true"]


def fetch_jars():
    """The folder of the broker's jars, fetched once into the cache."""
    jars = os.path.join(cache_dir(), f"kafka-{VERSION}")
    if os.path.exists(os.path.join(jars, ".done")):
        return jars
    if not shutil.which("mvn") or not shutil.which("java"):
        raise ServerMissing("Kafka: java and mvn are needed (apt-get install default-jre-headless maven)")
    with tempfile.TemporaryDirectory(dir=cache_dir()) as tmp:
        with open(os.path.join(tmp, "pom.xml"), "w", encoding="utf-8") as f:
            f.write(POM.format(v=VERSION))
        out = os.path.join(tmp, "jars")
        done = subprocess.run(["mvn", "-B", "-q", "-f", os.path.join(tmp, "pom.xml"), "dependency:copy-dependencies",
                               "-DincludeScope=runtime", f"-DoutputDirectory={out}"], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise ServerMissing(f"Kafka {VERSION} cannot be fetched from Maven: {done.stdout[-500:]}")
        open(os.path.join(out, ".done"), "w", encoding="utf-8").close()
        shutil.rmtree(jars, ignore_errors=True)
        shutil.move(out, jars)
    return jars


class Kafka:
    def __init__(self, heap="384m"):
        self.jars, self.heap = fetch_jars(), heap
        self.root = tempfile.mkdtemp(prefix="ph-kafka-", dir="/tmp")
        self.port, self.ctl, self.process = free_port(), free_port(), None
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.config = os.path.join(self.root, "server.properties")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(port=self.port, ctl=self.ctl, data=os.path.join(self.root, "data")))
        with open(os.path.join(self.root, "log4j2.properties"), "w", encoding="utf-8") as f:
            f.write("rootLogger.level=warn\nrootLogger.appenderRef.o.ref=O\nappender.o.type=Console\nappender.o.name=O\n"
                    "appender.o.layout.type=PatternLayout\nappender.o.layout.pattern=%d %p %m (%c)%n\n")

    def java(self, *args):
        return ["java", f"-Xmx{self.heap}", *JVM, f"-Dlog4j2.configurationFile={self.root}/log4j2.properties", "-cp",
                os.path.join(self.jars, "*"), *args]

    def tool(self, *args, **kwargs):
        return subprocess.run(self.java(*args), capture_output=True, text=True, timeout=120, **kwargs)

    def start(self):
        if not os.path.exists(os.path.join(self.root, "data", "meta.properties")):
            cluster = self.tool("kafka.tools.StorageTool", "random-uuid").stdout.strip().splitlines()[-1]
            done = self.tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.config)
            if done.returncode != 0:
                raise RuntimeError(f"Kafka storage format: {done.stdout}{done.stderr}")
        with open(os.path.join(self.root, "log"), "ab") as log:
            self.process = subprocess.Popen(self.java("kafka.Kafka", self.config), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        until(self.ready, 90, f"Kafka to start; see {self.root}/log")
        return self

    def admin(self):
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"Kafka ended with {self.process.returncode}; see {self.root}/log")
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill9()
        self.process = None

    def kill9(self):
        if self.process:
            self.process.kill()
            self.process.wait(30)
        self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def create_topic(self, name, partitions=4, config=None):
        future = self.admin().create_topics([NewTopic(name, partitions, 1, config=config or {})])[name]
        future.result(30)
        until(lambda: name in self.admin().list_topics(timeout=5).topics, 20, f"topic {name}")

    def topics(self):
        return [t for t in self.admin().list_topics(timeout=10).topics if not t.startswith("__")]

    def partitions(self, consumer, topic):
        return [TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions]

    def consume(self, topics, limit_s=60):
        """All records from the beginning to the present end: (topic, partition, offset, key, value, headers dict)."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "tests", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "log_level": 0})
        try:
            ends = {}
            for topic in topics:
                for part in self.partitions(consumer, topic):
                    low, high = consumer.get_watermark_offsets(part, timeout=10)
                    if high > low:
                        ends[(part.topic, part.partition)] = high
            consumer.assign([TopicPartition(t, p, 0) for t, p in ends])
            return self.read_to(consumer, ends, limit_s)
        finally:
            consumer.close()

    @staticmethod
    def read_to(consumer, ends, limit_s):
        records, left = [], dict(ends)

        def more():
            for m in consumer.consume(2000, 0.5):
                if m.error():
                    continue
                records.append((m.topic(), m.partition(), m.offset(), m.key(), m.value(), dict(m.headers() or [])))
                if m.offset() + 1 >= ends[(m.topic(), m.partition())]:
                    left.pop((m.topic(), m.partition()), None)
            return not left
        until(more, limit_s, "the topics to be read to their end")
        return records

    def produce_java(self, topic, pairs):
        """Produces key:value pairs with Java's console producer, whose partitioner is the reference."""
        lines = "".join(f"{k}|{v}\n" for k, v in pairs)
        done = self.tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", self.bootstrap, "--topic", topic,
                         "--property", "parse.key=true", "--property", "key.separator=|", input=lines)
        if done.returncode != 0:
            raise RuntimeError(f"ConsoleProducer: {done.stdout}{done.stderr}")
