"""A TCP proxy of our own that breaks connections in chosen ways.

    with Proxy(upstream_port) as proxy:                        # one thread a connection, which owns both its sockets
        proxy.delay(0.2)                                       # each byte comes that much later, in both directions
        proxy.cut(UP, 1000)                                    # behind the next 1,000 bytes from the client, the connection ends
        proxy.half_open(SERVER)                                # the server's side is closed, the client is not told
        proxy.black_hole()                                     # accepts and swallows, on old connections too
        proxy.heal()                                           # for bytes and connections to come; what was swallowed is gone
    with Proxy(broker.proxied_port, broker.advertised_port, kafka=True) as proxy:
        hold = proxy.hold(END_TXN)                             # the next request of that kind is kept
        hold.wait(10)
        hold.release()                                         # later, on its own connection to the broker, though the client has left

UP is from client to server, DOWN from server to client. counts says what was done: a test that relies on a fault asks there whether
it took place. Buffers are bounded by BUFFER_BYTES a direction and by HELD_BYTES for a held request, connections by CONNECTIONS_MAX.
"""
import collections
import selectors
import socket
import struct
import threading
import time

UP, DOWN = "up", "down"
CLIENT, SERVER = "client", "server"
PRODUCE, END_TXN = 0, 26  # Kafka's api keys
BUFFER_BYTES = 1 << 20
CHUNK_BYTES = 256 << 10
HELD_BYTES = 16 << 20
FRAME_BYTES = 128 << 20
CONNECTIONS_MAX = 500
CONNECT_SECONDS = 5
TICK_SECONDS = 0.05  # how soon a new fault is seen by a connection that nobody uses
REQUEST_HEAD = struct.Struct(">ihhi")  # length, api key, api version, correlation id
ANSWER_HEAD = struct.Struct(">ii")     # length, correlation id


class Proxy:
    """Listens on port (a free one if None) and passes everything on to upstream_port, both on 127.0.0.1."""

    def __init__(self, upstream_port, port=None, kafka=False):
        self.upstream_port, self.kafka = upstream_port, kafka
        self.counts = collections.Counter()
        self.problems = []
        self.lock = threading.Lock()
        self.links = set()
        self.stopping = threading.Event()
        self.delays, self.cuts, self.holds, self.swallowing = {UP: 0, DOWN: 0}, {}, [], False
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", port or 0))
        self.server.listen(128)
        self.server.settimeout(TICK_SECONDS)
        self.port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.thread.join(10)
        self.server.close()
        for link in self.present():
            link.thread.join(10)
        if exc[0] is None:
            assert not self.problems, self.problems
            assert not self.links, f"{len(self.links)} connections of the proxy did not end"

    def accept(self):
        while not self.stopping.is_set():
            try:
                client, _ = self.server.accept()
            except (TimeoutError, ConnectionError):
                continue
            if len(self.present()) >= CONNECTIONS_MAX:
                self.problems.append(f"more than {CONNECTIONS_MAX} connections")
                client.close()
                continue
            link = Link(self, client)
            with self.lock:
                self.links.add(link)
            self.count("connections")
            link.thread.start()

    def present(self):
        with self.lock:
            return list(self.links)

    def forget(self, link):
        with self.lock:
            self.links.discard(link)

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    # -- faults --

    def delay(self, seconds, direction=None):
        """What comes from now on arrives that much later; 0 ends it. What was read at once is counted as one of delayed."""
        for each in (UP, DOWN) if direction is None else (direction,):
            self.delays[each] = seconds

    def cut(self, direction, after_bytes, reset=True):
        """Behind that many further bytes of the direction, on whichever connection they are, that connection ends: by a reset, or
        as if each side had closed it. Counted as cuts."""
        with self.lock:
            self.cuts[direction] = Cut(after_bytes, reset)

    def armed(self, direction):
        """Whether a cut is still to come."""
        return direction in self.cuts

    def half_open(self, dead):
        """On all present connections the side dead (CLIENT or SERVER) is closed, and the other hears nothing of it: what it sends
        is swallowed. Counted as half_open; returns how many."""
        links = self.present()
        for link in links:
            link.half(dead)
        return len(links)

    def black_hole(self):
        """All connections, present and new, stay open and swallow what is sent. Counted as swallowed connections."""
        with self.lock:
            self.swallowing = True
            for link in self.links:
                link.swallow()

    def heal(self):
        """Ends delays, armed cuts, waiting holds and the black hole for new connections. A connection that swallowed something has
        lost it for ever, as behind a router that forgot it: it stays silent until its client gives up."""
        self.delay(0)
        with self.lock:
            self.swallowing = False
            self.cuts.clear()
            self.holds = [hold for hold in self.holds if hold.link]

    def hold(self, api_key, matching=None):
        """Keeps the next Kafka request with that key (and for which matching(frame) is true, when given). Returns the Hold."""
        assert self.kafka, "frames are known on a proxy with kafka=True only"
        hold = Hold(self, api_key, matching)
        with self.lock:
            self.holds.append(hold)
        return hold

    # -- what a connection asks --

    def wanted(self, api_key):
        """The waiting hold that may want a frame of that key."""
        with self.lock:
            return next((h for h in self.holds if h.link is None and h.api_key == api_key), None)

    def spend(self, direction, size):
        """Takes bytes of a direction off its armed cut: that cut and how many of them still pass, or (None, size)."""
        with self.lock:
            cut = self.cuts.get(direction)
            if cut is None or cut.left > size:
                if cut is not None:
                    cut.left -= size
                return None, size
            del self.cuts[direction]
            self.counts["cuts"] += 1
            return cut, cut.left


class Cut:
    def __init__(self, left, reset):
        self.left, self.reset = left, reset


class Hold:
    """One request that is kept. answer is the server's to it, as a whole frame, once it was released and answered."""

    def __init__(self, proxy, api_key, matching):
        self.proxy, self.api_key, self.matching = proxy, api_key, matching
        self.frame = self.answer = self.link = None
        self.caught, self.released, self.answered, self.dropped = (threading.Event() for _ in range(4))

    def wait(self, seconds):
        """Whether a request is held, within that time."""
        return self.caught.wait(seconds)

    @property
    def correlation_id(self):
        return REQUEST_HEAD.unpack_from(self.frame)[3]

    @property
    def client_left(self):
        """Whether the client gave its connection up meanwhile."""
        return self.link.client is None

    def release(self, seconds=10):
        """Sends the held request now; its answer, or None when none came in time."""
        assert self.caught.is_set(), "nothing is held"
        self.released.set()
        return self.answer if self.answered.wait(seconds) else None


    def drop(self):
        """The held request is never delivered, and its connections end; one that is not held yet is not waited for any more."""
        self.dropped.set()
        with self.proxy.lock:
            self.proxy.holds.remove(self)


class Frames:
    """Finds the Kafka requests in what a client sends, and takes out the one that a hold wants."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.head, self.left = bytearray(), 0
        self.taking = self.frame = None

    def feed(self, data):
        """What passes, and what follows a frame that was taken out whole (then self.frame is it)."""
        view, passed = memoryview(data), []
        while len(view) and self.frame is None:
            if self.left == 0:
                view = self.begin(view, passed)
            size = min(self.left, len(view))
            if self.taking is None:
                passed.append(view[:size])
            else:
                self.kept += view[:size]
            self.left -= size
            view = view[size:]
            if self.left == 0 and self.taking is not None:
                self.end(passed)
        return b"".join(passed), bytes(view)

    def begin(self, view, passed):
        """Reads a request's head, of which a part may be here."""
        missing = REQUEST_HEAD.size - len(self.head)
        self.head += view[:missing]
        if len(self.head) == REQUEST_HEAD.size:
            length, api_key, _, _ = REQUEST_HEAD.unpack(self.head)
            if not 8 <= length <= FRAME_BYTES:
                raise ValueError(f"a request of {length} bytes is none of Kafka's")
            self.left = length + 4 - REQUEST_HEAD.size
            self.taking = self.proxy.wanted(api_key) if length <= HELD_BYTES else None
            if self.taking is None:
                passed.append(bytes(self.head))
            self.kept = bytearray(self.head)
            self.head.clear()
        return view[missing:]

    def end(self, passed):
        """A frame is here whole: it is held, unless its content is not what is wanted, or another came first."""
        hold, self.taking = self.taking, None
        with self.proxy.lock:
            if hold.link is None and not hold.dropped.is_set() and (hold.matching is None or hold.matching(bytes(self.kept))):
                hold.link, self.frame = True, (hold, bytes(self.kept))
                return
        passed.append(bytes(self.kept))


class Answers:
    """Finds the answers to released requests in what a server sends."""

    def __init__(self):
        self.awaited = []
        self.head, self.left = bytearray(), 0
        self.hold = None

    def feed(self, data):
        view = memoryview(data)
        while len(view):
            if self.left == 0:
                missing = ANSWER_HEAD.size - len(self.head)
                self.head += view[:missing]
                view = view[missing:]
                if len(self.head) < ANSWER_HEAD.size:
                    return
                self.begin()
            size = min(self.left, len(view))
            if self.hold is not None:
                self.kept += view[:size]
            self.left -= size
            view = view[size:]
            if self.left == 0 and self.hold is not None:
                self.awaited.remove(self.hold)
                self.hold.answer = bytes(self.kept)
                self.hold.answered.set()

    def begin(self):
        length, correlation_id = ANSWER_HEAD.unpack(self.head)
        self.left = length + 4 - ANSWER_HEAD.size
        self.hold = next((hold for hold in self.awaited if hold.correlation_id == correlation_id), None)
        self.kept = bytearray(self.head)
        self.head.clear()


class Lane:
    """One direction of a connection: what was read and is not yet written, with the time when it is due."""

    def __init__(self, direction):
        self.direction = direction
        self.chunks, self.size = collections.deque(), 0
        self.ended = False

    def put(self, data, due):
        if data:
            self.chunks.append([due, memoryview(data)])
            self.size += len(data)

    def due(self):
        return self.chunks[0][0] if self.chunks else None

    def write(self, target, now):
        """Sends what is due and fits; bytes sent."""
        sent = 0
        while self.chunks and self.chunks[0][0] <= now:
            chunk = self.chunks[0]
            try:
                size = target.send(chunk[1])
            except BlockingIOError:
                break
            sent += size
            if size < len(chunk[1]):
                chunk[1] = chunk[1][size:]
                break
            self.chunks.popleft()
        self.size -= sent
        return sent


class Link:
    """One connection of a client and the one to the server behind it, in a thread that alone touches both."""

    def __init__(self, proxy, client):
        self.proxy = proxy
        self.client, self.server = client, None
        self.up, self.down = Lane(UP), Lane(DOWN)
        self.frames, self.answers = (Frames(proxy), Answers()) if proxy.kafka else (None, None)
        self.silent = proxy.swallowing
        self.dead = self.cutting = self.hold = None
        self.behind = b""
        self.silence_counted = self.hold_sent = False
        self.thread = threading.Thread(target=self.work, name=f"link-{proxy.port}", daemon=True)

    # -- orders from other threads, taken up within a tick --

    def half(self, dead):
        self.dead = dead

    def swallow(self):
        self.silent = True

    # -- the thread --

    def work(self):
        try:
            self.open()
            while self.alive() and not self.proxy.stopping.is_set():
                self.step()
        except (ConnectionError, TimeoutError):
            pass  # either side went away, as connections do
        except Exception as why:  # a fault of the proxy itself; the end of the test raises it
            self.proxy.problems.append(repr(why))
        finally:
            self.close(CLIENT)
            self.close(SERVER)
            self.proxy.forget(self)

    def open(self):
        if not self.silent:
            self.server = socket.create_connection(("127.0.0.1", self.proxy.upstream_port), CONNECT_SECONDS)
        for each in (self.client, self.server):
            if each is not None:
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def alive(self):
        if self.hold is not None:
            return self.server is not None
        if self.silent:
            return self.client is not None or (self.server is not None and self.dead == CLIENT)
        return self.client is not None and self.server is not None

    def step(self):
        """Waits for what can be read or written, and does it."""
        self.obey()
        now = time.monotonic()
        with selectors.PollSelector() as waiting:
            for side, events in ((CLIENT, self.interest(self.client, self.up, self.down, now)),
                                 (SERVER, self.interest(self.server, self.down, self.up, now))):
                if events:
                    waiting.register(getattr(self, side), events, side)
            ready = waiting.select(self.patience(now))
        for key, events in ready:
            if events & selectors.EVENT_READ:
                self.read(key.data)
        now = time.monotonic()
        for lane, target in ((self.up, self.server), (self.down, self.client)):
            if target is not None and not self.silent:
                self.proxy.count("bytes_" + lane.direction, lane.write(target, now))
        self.finish()

    def interest(self, own, reads, writes, now):
        """What to wait for on a side's socket, which feeds one lane and is fed by the other."""
        if own is None:
            return 0
        waits_to_read = self.silent or (reads.size < BUFFER_BYTES and not reads.ended)
        waits_to_write = not self.silent and writes.chunks and writes.due() <= now
        return (selectors.EVENT_READ if waits_to_read else 0) | (selectors.EVENT_WRITE if waits_to_write else 0)

    def patience(self, now):
        dues = [lane.due() for lane in (self.up, self.down) if lane.chunks]
        later = [due - now for due in dues if due > now]
        return min([TICK_SECONDS, *later])

    def obey(self):
        """Takes up what others ordered."""
        if self.dead and not self.silent:
            self.silent = True
            self.close(self.dead)
            self.proxy.count("half_open")
        if self.silent and not self.silence_counted:
            self.silence_counted = True
            if not self.dead:
                self.proxy.count("swallowed")
        if self.hold and self.hold.released.is_set() and not self.hold_sent:
            self.let_go()
        if self.hold and self.hold.dropped.is_set():
            self.close(CLIENT)
            self.close(SERVER)

    def read(self, side):
        """Takes what a side sent, or notes that it ended."""
        lane = self.up if side == CLIENT else self.down
        try:
            data = getattr(self, side).recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            lane.ended = True
            if self.silent or (self.hold is not None and side == CLIENT):
                self.close(side)
            return
        if self.silent:
            self.proxy.count("bytes_swallowed", len(data))
        elif self.cutting is None:
            self.take(lane, data)

    def take(self, lane, data):
        if lane is self.up and self.hold is not None and not self.hold_sent:
            self.behind += data
            if len(self.behind) > HELD_BYTES:
                raise ValueError("too much behind a held request")
            return
        if lane is self.up and self.frames is not None:
            data, behind = self.frames.feed(data)
            if self.frames.frame is not None:
                self.keep(behind)
        elif self.answers is not None:
            self.answers.feed(data)
        cut, size = self.proxy.spend(lane.direction, len(data)) if data else (None, 0)
        later = self.proxy.delays[lane.direction]
        if later and size:
            self.proxy.count("delayed")
        lane.put(data[:size], time.monotonic() + later if later else 0)
        self.cutting = self.cutting or cut

    def keep(self, behind):
        """A request is held; what the client sends behind it waits with it."""
        hold, hold.frame = self.frames.frame
        self.frames.frame = None
        hold.link, self.hold, self.hold_sent, self.behind = self, hold, False, behind
        self.proxy.count("held")
        hold.caught.set()

    def let_go(self):
        """The held request goes on its way, and what waited behind it, of which another may be held."""
        self.hold_sent = True
        self.proxy.count("released")
        self.answers.awaited.append(self.hold)
        self.up.put(self.hold.frame, 0)
        behind, self.behind = self.behind, b""
        self.take(self.up, behind)

    def finish(self):
        """Ends what has come to its end: a cut behind its last byte, a side that closed."""
        if self.cutting is not None and not self.up.size and not self.down.size:
            self.close(CLIENT, self.cutting.reset)
            self.close(SERVER, self.cutting.reset)
        if self.silent:
            return
        if self.hold is not None and self.client is None:
            self.down.chunks.clear()
            self.down.size = 0
            if (self.hold_sent and not self.answers.awaited) or self.down.ended:
                self.close(SERVER)
            return
        for lane, target in ((self.up, SERVER), (self.down, CLIENT)):
            if lane.ended and not lane.size:
                self.close(target)

    def close(self, side, reset=False):
        own = getattr(self, side)
        if own is None:
            return
        setattr(self, side, None)
        if reset:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        own.close()
