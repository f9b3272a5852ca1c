"""Workers that are simulated: to Redis each looks like one of ours, and costs this machine less.

One worker of each proxy has a tracking connection and reads its pushes. It tells them to the others
over UNIX sockets, in our own frames. Beside them, one connection for all of them sends what workers
send: a sign of life every five seconds, and reads of hosts that changed.
"""

from __future__ import annotations

import random
import re
import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection

from app.stores.redis.keys import DEAD, DEAD_INFO, FRONTEND, OPTIONS, PATHS
from app.stores.redis.listening.tracking_news import (
    NewsFrame,
    NewsKind,
    TrackingNews,
    frames_in,
    packed_frame,
)
from app.stores.redis.presence import CHANGE, PRESENT_EVERY, PRESENT_FOR, WORKER
from app.stores.redis.questions import QUESTION
from app.stores.redis.tracking import FIRST_PAUSE, LONGEST_PAUSE
from bench.scale.real import WORKERS_EACH
from bench.scale.shared_numbers import Histogram, SharedNumbers, packed

TRACKED = (FRONTEND, PATHS, OPTIONS, DEAD, DEAD_INFO, CHANGE, QUESTION)
CHANGED = re.compile(rb"frontend:s\d+\.[a-z.]+")
NUMBER = slice(len("frontend:s"), len("frontend:s000000"))
HELLO = packed("HELLO", "3") + packed(
    "CLIENT", "TRACKING", "ON", "BCAST", *(part for kind in TRACKED for part in ("PREFIX", kind))
)


class SimulatedProxy:
    """The workers of one: the listening one, and a follower that it tells as ours do. That one
    stands for all followers: this machine could not run 700 of them beside Redis."""

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.rest = b""
        """What is not yet a whole push."""
        self._end, self.follower = socket.socketpair()
        self.unread = bytearray()
        """What has come to the follower and is not yet a whole frame."""

    def tell(self, keys: list[bytes]) -> None:
        """Tell the follower of changed keys, in a frame as NewsTeller sends it."""
        news = [TrackingNews(NewsKind.KEYS, keys=[key]) for key in keys]
        self._end.sendall(packed_frame(NewsFrame(time.monotonic(), news)))


class Simulated:
    """So many workers in one process."""

    def __init__(self, numbers: SharedNumbers, count: int, asked: int) -> None:
        """`asked`: how many of them read a host again that has changed."""
        self._numbers, self._count, self._asked = numbers, count, asked
        self._selector = selectors.EpollSelector()
        self._again: list[tuple[float, float, SimulatedProxy]] = []
        """When a lost connection is tried again, after what pause, and whose it is."""
        self._beside: socket.socket | None = None
        self._alive_at = 0.0
        self._alive = 0
        self.seen, self.back = Histogram(), 0
        self.returned_at = 0.0

    def run(self, pipe: Connection) -> None:
        """Until the other end of the pipe says None; "take" is answered by what was counted."""
        for number in range(0, self._count, WORKERS_EACH):
            proxy = SimulatedProxy(number, min(WORKERS_EACH, self._count - number))
            self._selector.register(proxy.follower, selectors.EVENT_READ, proxy)
            self._connect(proxy, FIRST_PAUSE)
        pipe.send(None)
        while True:
            self._turn()
            if pipe.poll():
                if pipe.recv() is None:
                    return
                pipe.send((self.seen, self.back, self.returned_at))
                self.seen, self.back = Histogram(), 0

    def _turn(self) -> None:
        for key, _ in self._selector.select(0.05):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                data = sock.recv(65_536)
            except OSError:
                data = b""
            if sock is self._beside:
                if not data:
                    self._lose_beside()
            elif sock is key.data.follower:
                self._told(key.data, data)
            elif data:
                self._heard(key.data, data)
            else:
                self._lost(sock, key.data, FIRST_PAUSE)
        now = time.monotonic()
        due = [each for each in self._again if each[0] <= now]
        if due:
            self._again = [each for each in self._again if each[0] > now]
            for _, pause, proxy in due:
                self._connect(proxy, pause)
        if now >= self._alive_at:
            self._say_alive(now)

    def _heard(self, proxy: SimulatedProxy, data: bytes) -> None:
        if proxy.rest or not data.endswith(b"\r\n"):
            data = proxy.rest + data
            cut = data.rfind(b"\n") + 1
            data, proxy.rest = data[:cut], data[cut:]
        if keys := CHANGED.findall(data):
            if proxy.workers > 1:
                proxy.tell(keys)
            self._saw(keys, range(proxy.number, proxy.number + 1))

    def _told(self, proxy: SimulatedProxy, data: bytes) -> None:
        proxy.unread += data
        for frame in frames_in(proxy.unread):
            for news in frame.news:
                followers = range(proxy.number + 1, proxy.number + proxy.workers)
                self._saw(news.keys or (), followers)

    def _saw(self, keys: Iterable[bytes], workers: range) -> None:
        now, sent = time.monotonic(), self._numbers.sent
        for key in keys:
            changed = int(key[NUMBER])
            self.seen.add(now - sent[changed], len(workers))
            for number in workers:
                if (changed * 7919 + number) % self._count < self._asked:
                    self._read(changed)

    def _connect(self, proxy: SimulatedProxy, pause: float) -> None:
        sock = socket.socket()
        try:
            sock.connect(("127.0.0.1", self._numbers.port))
            sock.sendall(HELLO + packed("GET", CHANGE))
        except OSError:
            self._lost(sock, proxy, min(2 * pause, LONGEST_PAUSE))
            return
        sock.settimeout(5)
        answer = b""
        with suppress(OSError):
            while b"+OK" not in answer:
                data = sock.recv(65_536)
                if not data or b"-LOADING" in data:
                    break
                answer += data
        if b"+OK" not in answer:
            self._lost(sock, proxy, min(2 * pause, LONGEST_PAUSE))
            return
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, proxy)
        self.back += proxy.workers
        self.returned_at = time.monotonic()

    def _lost(self, sock: socket.socket, proxy: SimulatedProxy, pause: float) -> None:
        with suppress(KeyError):
            self._selector.unregister(sock)
        sock.close()
        proxy.rest = b""
        due = time.monotonic() + pause * random.uniform(0.5, 1)
        self._again.append((due, pause, proxy))

    # The one connection for what they send

    def _read(self, number: int) -> None:
        self._send(LOOKUP.replace(b"NUMBER", b"%06d" % number))

    def _say_alive(self, now: float) -> None:
        self._alive_at = now + PRESENT_EVERY / max(self._count, 1)
        self._alive += 1
        name = f"{WORKER}simulated:{self._alive % self._count}"
        self._send(packed("SET", name, "0", "EX", PRESENT_FOR))

    def _send(self, data: bytes) -> None:
        if self._beside is None:
            self._beside = socket.socket()
            try:
                self._beside.connect(("127.0.0.1", self._numbers.port))
            except OSError:
                self._lose_beside()
                return
            self._selector.register(self._beside, selectors.EVENT_READ, -1)
        try:
            self._beside.sendall(data)
        except OSError:
            self._lose_beside()

    def _lose_beside(self) -> None:
        if self._beside is not None:
            with suppress(KeyError):
                self._selector.unregister(self._beside)
            self._beside.close()
            self._beside = None


def _lookup(name: str) -> bytes:
    """What a worker sends to read a host: as in app/stores/redis/lookups.py."""
    keys = [name, "*.scale.example", "*.example", "*"]
    commands = [packed("LRANGE", FRONTEND + key, 0, -1) for key in keys]
    commands += [packed("SMEMBERS", PATHS + key) for key in keys]
    commands += [packed("SMEMBERS", DEAD + name), packed("PTTL", DEAD + name)]
    commands += [packed("HGETALL", DEAD_INFO + name), packed("HGETALL", OPTIONS + name)]
    return b"".join(commands)


LOOKUP = _lookup("sNUMBER.scale.example")


def simulate(numbers: SharedNumbers, count: int, asked: int, pipe: Connection) -> None:
    """A process of them."""
    Simulated(numbers, count, asked).run(pipe)
