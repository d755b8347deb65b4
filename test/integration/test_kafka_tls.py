"""Delivery to a broker that speaks TLS and wants a password (SASL_SSL): who is trusted, who is let in, what is told."""
import json
import uuid
from pathlib import Path

import pytest

from conftest import started


@pytest.fixture(scope="module")
def broker():
    server = started(lambda servers: servers.Kafka(secure=True))
    yield server
    server.close()


@pytest.fixture
def case(posthorn, database, broker, tmp_path):
    return Case(posthorn, database.dsn(), database, broker, tmp_path)


class Case:
    """Ten events in a log, a topic of their own, and the settings with which they can be delivered."""

    def __init__(self, posthorn, dsn, database, broker, folder):
        self.posthorn, self.dsn, self.broker = posthorn, dsn, broker
        self.topic = broker.create_topic(f"t-{uuid.uuid4().hex[:10]}")
        self.password_file = folder / "password"
        self.set_password(broker.password)
        self.settings = {
            "route.topic": self.topic, "backoff_max": "200ms", "drain_timeout": "100ms",
            "sink.kafka.security.protocol": "SASL_SSL", "sink.kafka.ssl.ca.location": broker.ca,
            "sink.kafka.sasl.mechanism": "PLAIN", "sink.kafka.sasl.username": "relay",
            "sink.kafka.sasl.password_file": self.password_file,
        }
        posthorn.init(dsn)
        database.sql("SELECT posthorn.publish('Order', 'o' || i, 'Placed', '{}') FROM generate_series(1, 10) i")

    def set_password(self, text):
        self.password_file.write_text(text + "\n")

    def delivered(self):
        return self.broker.count(self.topic)

    def start(self, uri=None):
        return self.posthorn.start_relay(self.dsn, uri or self.broker.secure_uri, settings=self.settings)

    def deliver(self):
        relay = self.posthorn.drain(self.dsn, self.broker.secure_uri, settings=self.settings)
        assert self.delivered() == 10, relay.log
        return relay

    def refused(self, uri=None):
        """What the relay says, once, when it is not let in or does not trust; nothing is delivered then."""
        relay = self.start(uri)
        line = relay.wait_log("the sink is down.*").group()
        assert relay.running() and self.delivered() == 0, relay.log
        assert self.broker.password not in relay.log, relay.log
        assert relay.stop() == 0
        return line


def test_delivers_and_is_read_back(case):
    relay = case.start()
    case.posthorn.wait_drained(case.dsn)
    seen = Path(f"/proc/{relay.pid}/cmdline").read_bytes() + Path(f"/proc/{relay.pid}/environ").read_bytes()
    assert b"SASL_SSL" in seen and case.broker.password.encode() not in seen
    assert relay.stop() == 0 and case.broker.password not in relay.log
    assert case.delivered() == 10
    words = [word for name, value in case.settings.items() if name.startswith(("sink.", "route.")) for word in ("--set", f"{name}={value}")]
    done = case.posthorn.run("verify", "--from", case.dsn, "--to", case.broker.secure_uri, *words, "--strict", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["events"] == 10 and found["missing"] == 0, done.stdout + done.stderr


def test_a_broker_whose_authority_is_unknown_is_refused(case):
    ca = case.settings.pop("sink.kafka.ssl.ca.location")
    line = case.refused()
    assert "certificate verify failed" in line and "ssl.ca.location" in line, line
    case.settings["sink.kafka.ssl.ca.location"] = ca
    case.deliver()


def test_a_certificate_for_another_name_is_refused(case):
    line = case.refused(case.broker.secure_uri.replace("localhost", "127.0.0.1"))
    assert "certificate verify failed" in line, line
    case.settings["sink.kafka.ssl.endpoint.identification.algorithm"] = "none"  # it was the name and nothing else
    relay = case.start(case.broker.secure_uri.replace("localhost", "127.0.0.1"))
    case.posthorn.wait_drained(case.dsn)
    assert relay.stop() == 0 and case.delivered() == 10


def test_a_wrong_password_is_told_and_loses_nothing(case):
    wrong = "wrong-" + uuid.uuid4().hex
    case.set_password(wrong)
    line = case.refused()
    assert "uthentication failed" in line and wrong not in line, line
    assert wrong not in case.posthorn.logs(1000)
    case.set_password(case.broker.password)
    case.deliver()


def test_plain_text_to_a_tls_port_is_refused(case):
    case.settings["sink.kafka.security.protocol"] = "SASL_PLAINTEXT"
    case.refused()


def test_a_password_file_that_is_not_there_is_told_at_once(case):
    case.password_file.unlink()
    words = [word for name, value in case.settings.items() for word in ("--set", f"{name}={value}")]
    done = case.posthorn.run("run", "--from", case.dsn, "--to", case.broker.secure_uri, *words)
    assert done.returncode == 78 and str(case.password_file) in done.stderr, done.stderr
