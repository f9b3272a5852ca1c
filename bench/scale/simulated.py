"""Workers that are simulated: to Redis each looks like one of ours, and costs this machine less.

Each has a tracking connection and reads its pushes. Beside them, one connection for all of them
sends what workers send: a sign of life every five seconds, and reads of hosts that changed.
"""

from __future__ import annotations

import random
import re
import selectors
import socket
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from app.stores.redis.keys import DEAD, DEAD_INFO, FRONTEND, OPTIONS, PATHS
from app.stores.redis.presence import CHANGE, PRESENT_EVERY, PRESENT_FOR, WORKER
from app.stores.redis.questions import QUESTION
from app.stores.redis.tracking import FIRST_PAUSE, LONGEST_PAUSE
from bench.scale.shared_numbers import Histogram, SharedNumbers, packed

TRACKED = (FRONTEND, PATHS, OPTIONS, DEAD, DEAD_INFO, CHANGE, QUESTION)
CHANGED = re.compile(rb"frontend:s(\d+)\.")
HELLO = packed("HELLO", "3") + packed(
    "CLIENT", "TRACKING", "ON", "BCAST", *(part for kind in TRACKED for part in ("PREFIX", kind))
)


class Simulated:
    """So many workers in one process."""

    def __init__(self, numbers: SharedNumbers, count: int, asked: int) -> None:
        """`asked`: how many of them read a host again that has changed."""
        self._numbers, self._count, self._asked = numbers, count, asked
        self._selector = selectors.EpollSelector()
        self._again: list[tuple[float, float, int]] = []
        """When a lost connection is tried again, after what pause, and whose it is."""
        self._rest: dict[int, bytes] = {}
        self._beside: socket.socket | None = None
        self._alive_at = 0.0
        self._alive = 0
        self.seen, self.back = Histogram(), 0
        self.returned_at = 0.0

    def run(self, pipe: Connection) -> None:
        """Until the other end of the pipe says None; "take" is answered by what was counted."""
        for number in range(self._count):
            self._connect(number, FIRST_PAUSE)
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
            elif data:
                self._heard(key.data, data)
            else:
                self._lost(sock, key.data, FIRST_PAUSE)
        now = time.monotonic()
        due = [each for each in self._again if each[0] <= now]
        if due:
            self._again = [each for each in self._again if each[0] > now]
            for _, pause, number in due:
                self._connect(number, pause)
        if now >= self._alive_at:
            self._say_alive(now)

    def _heard(self, number: int, data: bytes) -> None:
        if not data.endswith(b"\r\n") or number in self._rest:
            data = self._rest.pop(number, b"") + data
            cut = data.rfind(b"\n") + 1
            data, rest = data[:cut], data[cut:]
            if rest:
                self._rest[number] = rest
        now, sent = time.monotonic(), self._numbers.sent
        for found in CHANGED.findall(data):
            changed = int(found)
            self.seen.add(now - sent[changed])
            if (changed * 7919 + number) % self._count < self._asked:
                self._read(changed)

    def _connect(self, number: int, pause: float) -> None:
        sock = socket.socket()
        try:
            sock.connect(("127.0.0.1", self._numbers.port))
            sock.sendall(HELLO + packed("GET", CHANGE))
        except OSError:
            self._lost(sock, number, min(2 * pause, LONGEST_PAUSE))
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
            self._lost(sock, number, min(2 * pause, LONGEST_PAUSE))
            return
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, number)
        self.back += 1
        self.returned_at = time.monotonic()

    def _lost(self, sock: socket.socket, number: int, pause: float) -> None:
        with suppress(KeyError):
            self._selector.unregister(sock)
        sock.close()
        self._rest.pop(number, None)
        due = time.monotonic() + pause * random.uniform(0.5, 1)
        self._again.append((due, pause, number))

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
