"""The proxy itself: what passes, and that each fault does what it says and is counted."""
import contextlib
import hashlib
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from proxy import CLIENT, DOWN, END_TXN, PRODUCE, SERVER, UP, Proxy  # noqa: E402
from servers import Kafka, until  # noqa: E402

pytestmark = pytest.mark.smoke
SECONDS = 10


class Upstream:
    """A server that keeps what each connection sent. answer() says how many bytes of what came it takes, and its answer to them."""

    def __init__(self, answer):
        self.answer, self.received, self.ends = answer, [], []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.server.accept()
                self.received.append(bytearray())
                self.ends.append(None)
                threading.Thread(target=self.serve, args=(conn, len(self.ends) - 1), daemon=True).start()

    def serve(self, conn, number):
        pending = b""
        try:
            while data := conn.recv(1 << 20):
                self.received[number] += data
                pending += data
                taken, answer = self.answer(pending)
                pending = pending[taken:]
                conn.sendall(answer)
            self.ends[number] = "end"
        except ConnectionError:
            self.ends[number] = "reset"
        finally:
            conn.close()


def frame(api_key, correlation_id, body=b""):
    """A Kafka request."""
    return struct.pack(">ihhi", 8 + len(body), api_key, 1, correlation_id) + body


def reply(data):
    """The answers to the whole requests at the front of data: their correlation ids and their keys."""
    out, at = b"", 0
    while len(data) >= at + 12:
        length, key, _, correlation_id = struct.unpack_from(">ihhi", data, at)
        if len(data) < at + 4 + length:
            break
        out += struct.pack(">iih", 6, correlation_id, key)
        at += 4 + length
    return at, out


@pytest.fixture
def echo():
    upstream = Upstream(lambda data: (len(data), data))
    with Proxy(upstream.port) as proxy:
        yield upstream, proxy
    upstream.server.close()


@pytest.fixture
def kafka_like():
    upstream = Upstream(reply)
    with Proxy(upstream.port, kafka=True) as proxy:
        yield upstream, proxy
    upstream.server.close()


def dial(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), SECONDS)


def ask(conn, data):
    conn.sendall(data)
    return receive(conn, len(data))


def receive(conn, size):
    """Size bytes, or fewer where the connection ends before."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while len(got) < size and (data := conn.recv(size - len(got))):
            got += data
    return got


def test_bytes_pass_both_ways(echo):
    _, proxy = echo
    size = 100 << 20
    data = hashlib.shake_128(b"seed").digest(1 << 20)
    with dial(proxy) as conn:
        began = time.monotonic()
        sender = threading.Thread(target=lambda: [conn.sendall(data) for _ in range(size >> 20)], daemon=True)
        sender.start()
        for _ in range(size >> 20):
            assert receive(conn, 1 << 20) == data
        rate = size / (time.monotonic() - began)
        sender.join(SECONDS)
    print(f"{rate / 1e6:.0f} MB/s each way, both at once")
    until(lambda: proxy.counts["bytes_up"] == proxy.counts["bytes_down"] == size, SECONDS, "the last bytes to be counted")


def test_a_reader_that_stops_stops_the_sender(echo):
    """The buffers are bounded: what nobody reads stays with the sender."""
    _, proxy = echo
    with dial(proxy) as conn:
        conn.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200 << 20:
                sent += conn.send(bytes(1 << 16))
    assert sent < 100 << 20


def test_a_delay_is_a_delay_and_ends(echo):
    _, proxy = echo
    with dial(proxy) as conn:
        for seconds in (0.001, 0.3):
            proxy.delay(seconds)
            began = time.monotonic()
            assert ask(conn, b"slow") == b"slow"
            assert 2 * seconds <= time.monotonic() - began < 2 * seconds + 0.5
        proxy.delay(0)
        began = time.monotonic()
        assert ask(conn, b"quick") == b"quick"
        assert time.monotonic() - began < 0.3


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_lets_exactly_so_many_bytes_pass(echo, reset):
    upstream, proxy = echo
    for direction, sent in ((UP, 1001), (DOWN, 5000)):
        with dial(proxy) as conn:
            assert ask(conn, b"before") == b"before"
            proxy.cut(direction, 1000, reset)
            conn.sendall(bytes(sent))
            assert direction == UP or receive(conn, 1000) == bytes(1000)
            with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext():
                assert conn.recv(1) == b""
            until(lambda: upstream.ends[-1], SECONDS, "the end on the server's side")
        assert len(upstream.received[-1]) == 6 + (1000 if direction == UP else sent)
        assert not proxy.armed(direction)
    assert proxy.counts["cuts"] == 2
    with dial(proxy) as conn:
        assert ask(conn, bytes(9000)) == bytes(9000)


def test_half_open_towards_the_client(echo):
    upstream, proxy = echo
    with dial(proxy) as conn:
        assert ask(conn, b"before") == b"before"
        assert proxy.half_open(SERVER) == 1
        until(lambda: upstream.ends[0], SECONDS, "the server's side to be closed")
        conn.sendall(b"to nobody")
        conn.settimeout(0.3)
        with pytest.raises(TimeoutError):
            conn.recv(1)
        with dial(proxy) as other:
            assert ask(other, b"new ones work") == b"new ones work"
    assert proxy.counts["half_open"] == 1 and proxy.counts["bytes_swallowed"] == 9


def test_half_open_towards_the_server(echo):
    upstream, proxy = echo
    with dial(proxy) as conn:
        assert ask(conn, b"before") == b"before"
        proxy.half_open(CLIENT)
        assert receive(conn, 1) == b""
        with dial(proxy) as other:
            assert ask(other, b"new ones work") == b"new ones work"
        assert upstream.ends[0] is None and proxy.counts["half_open"] == 1


def test_a_black_hole_accepts_and_swallows_old_and_new(echo):
    upstream, proxy = echo
    with dial(proxy) as old:
        assert ask(old, b"before") == b"before"
        proxy.black_hole()
        with dial(proxy) as new:
            until(lambda: proxy.counts["swallowed"] == 2, SECONDS, "two swallowed connections")
            for conn in (old, new):
                conn.settimeout(0.2)
                conn.sendall(b"lost")
                with pytest.raises(TimeoutError):
                    conn.recv(1)
            until(lambda: proxy.counts["bytes_swallowed"] == 8, SECONDS, "the bytes of both")
            proxy.heal()
            with pytest.raises(TimeoutError):
                old.recv(1)
            with dial(proxy) as later:
                assert ask(later, b"healed") == b"healed"
    assert bytes(upstream.received[0]) == b"before" and len(upstream.received) == 2


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_held_frame_comes_later_on_its_own_connection(kafka_like, pieces):
    """The client leaves, and goes on by a new connection; then the server gets the old request, and its answer is kept."""
    upstream, proxy = kafka_like
    end, before = frame(END_TXN, 7, b"commit"), frame(PRODUCE, 6, bytes(300))
    with dial(proxy) as old:
        assert receive_answer(old, before) == (6, PRODUCE)
        hold = proxy.hold(END_TXN, matching=lambda whole: whole.endswith(b"commit"))
        data = before + frame(END_TXN, 5, b"abort!") + end
        for at in range(0, len(data), max(1, len(data) // pieces)):
            old.sendall(data[at:at + max(1, len(data) // pieces)])
        assert hold.wait(SECONDS) and hold.frame == end and not hold.client_left
    until(lambda: hold.client_left, SECONDS, "the client's leaving")
    with dial(proxy) as new:
        assert receive_answer(new, end) == (7, END_TXN)
    assert end not in bytes(upstream.received[0])
    assert hold.release() == reply(end)[1]
    assert bytes(upstream.received[0]).endswith(end) and bytes(upstream.received[1]) == end
    until(lambda: upstream.ends[0], SECONDS, "the end of the held connection")
    assert (proxy.counts["held"], proxy.counts["released"]) == (1, 1)


def receive_answer(conn, request):
    conn.sendall(request)
    _, correlation_id, key = struct.unpack(">iih", receive(conn, 10))
    return correlation_id, key


def test_a_held_frame_of_a_client_that_waits_is_a_delay(kafka_like):
    upstream, proxy = kafka_like
    with dial(proxy) as conn:
        hold = proxy.hold(PRODUCE)
        conn.sendall(frame(PRODUCE, 1) + frame(END_TXN, 2))
        assert hold.wait(SECONDS)
        conn.sendall(frame(PRODUCE, 3))
        conn.settimeout(0.3)
        with pytest.raises(TimeoutError):
            conn.recv(1)
        conn.settimeout(SECONDS)
        assert hold.release() == reply(frame(PRODUCE, 1))[1]
        assert receive(conn, 30) == reply(frame(PRODUCE, 1) + frame(END_TXN, 2) + frame(PRODUCE, 3))[1]
        again, behind = proxy.hold(PRODUCE), proxy.hold(PRODUCE)
        conn.sendall(frame(PRODUCE, 4) + frame(PRODUCE, 5))
        assert again.wait(SECONDS) and not behind.caught.is_set()
        assert again.release() == reply(frame(PRODUCE, 4))[1]
        assert behind.wait(SECONDS) and behind.release() == reply(frame(PRODUCE, 5))[1]
        assert receive(conn, 20) == reply(frame(PRODUCE, 4) + frame(PRODUCE, 5))[1]
    assert len(upstream.received) == 1


def test_a_dropped_frame_never_comes(kafka_like):
    upstream, proxy = kafka_like
    with dial(proxy) as conn:
        hold = proxy.hold(PRODUCE)
        conn.sendall(frame(PRODUCE, 1))
        assert hold.wait(SECONDS)
        hold.drop()
        assert receive(conn, 1) == b""
    until(lambda: upstream.ends[0], SECONDS, "the end of the held connection")
    assert not upstream.received[0]
    proxy.hold(PRODUCE).drop()
    with dial(proxy) as conn:
        assert receive_answer(conn, frame(PRODUCE, 2)) == (2, PRODUCE)


def test_what_is_no_request_of_kafka_is_reported(kafka_like):
    _, proxy = kafka_like
    with dial(proxy) as conn:
        conn.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert receive(conn, 1) == b""
    assert len(proxy.problems) == 1 and "none of Kafka's" in proxy.problems.pop()


def test_without_an_upstream_a_connection_just_ends():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Proxy(port) as proxy, dial(proxy) as conn:
        assert receive(conn, 1) == b""


def test_all_traffic_of_a_brokers_clients_goes_through_it(posthorn, database):
    """With Kafka(proxied=True) a relay's bytes are all counted, and the test reads past the proxy."""
    with Kafka(proxied=True) as broker, Proxy(broker.proxied_port, broker.advertised_port, kafka=True) as proxy:
        topic = broker.create_topic("through", partitions=1)
        assert proxy.counts["connections"] == 0
        posthorn.init(database.dsn())
        database.sql("SELECT posthorn.publish('Order', 'o-1', 'Placed', to_jsonb(repeat('x', 50000)))")
        hold = proxy.hold(PRODUCE)
        relay = posthorn.start_relay(database.dsn(), broker.proxied_uri, settings={"route.topic": topic})
        assert hold.wait(30) and len(hold.frame) > 50000 and broker.count(topic) == 0
        assert hold.release() is not None
        posthorn.wait_drained(database.dsn())
        assert relay.stop() == 0 and broker.count(topic) == 1 and proxy.counts["bytes_up"] > 50000
