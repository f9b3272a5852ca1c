"""The visitors: of the tenants that are well, who must lose nothing, and of the hostile one."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bench.chaos.site import HOSTILE, Proxy, Site
from bench.soak.backend import body_of
from bench.soak.load import KEY, Broken, Wire, frame, request

PATIENCE = 40.0
"""Seconds for one request; a request that takes longer hangs."""
PAUSE = 0.02
UPLOADED = 150_000
GOING_AWAY = {1001, 1012}
"""Close codes that say that the proxy restarts (RFC 6455 §7.4.1, IANA's registry)."""


@dataclass
class Seen:
    """What became of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def lose(self, text: str) -> None:
        self.outcomes["LOST"] += 1
        if len(self.lost) < 30:
            self.lost.append(f"{time.strftime('%H:%M:%S')} {text}")


class Visitor:
    """One client of one proxy. Asks until it is told to stop, one request after the other."""

    def __init__(self, site: Site, proxy: Proxy, host: str, seen: Seen) -> None:
        self.site, self.proxy, self.host, self.seen = site, proxy, host.encode(), seen
        self.stopping = False
        self.wire: Wire | None = None
        self.used = 0
        """Requests that were answered on the connection."""
        self.asked = 0.0
        """When the request began, on the monotonic clock."""

    async def run(self, once: Callable[[Visitor], Awaitable[None]]) -> None:
        """Until `stopping`. Whatever goes wrong is excused or lost, and asked again."""
        while not self.stopping:
            self.asked = time.monotonic()
            try:
                await once(self)
            except TimeoutError:
                self.seen.lose(f"{self._what(once)}: no end within {PATIENCE:g} s")
                self.drop()
            except (Broken, OSError, EOFError) as exc:
                self._broken(once, exc)
                self.drop()
                await asyncio.sleep(0.05)
            await asyncio.sleep(random.uniform(0, 2 * PAUSE))
        self.drop()

    def _what(self, once: Callable[[Visitor], Awaitable[None]]) -> str:
        return f"{once.__name__} of {self.host.decode()} at {self.proxy.folder.name}"

    def _broken(self, once: Callable[[Visitor], Awaitable[None]], exc: Exception) -> None:
        if self.proxy.excuses(self.asked):
            self.seen.outcomes["on a killed worker, asked again"] += 1
        elif self.used and once is Visitor.get and "0 bytes read on" in str(exc):
            # Between two requests either side may close (RFC 9112 §9.3.1): asked again.
            self.seen.outcomes["closed between two requests, asked again"] += 1
        else:
            self.seen.lose(f"{self._what(once)}: {exc!r}, {self.used} before it")

    def drop(self) -> None:
        if self.wire is not None:
            self.wire.writer.transport.abort()
            self.wire = None

    async def connected(self) -> Wire:
        if self.wire is None:
            self.used = 0
            self.wire = await Wire.open(self.proxy.port)
        return self.wire

    def judge(self, what: str, got: tuple[int, bytes, bytes], body: bytes) -> None:
        """A tenant that is well is answered 200 with the right bytes, whatever happens."""
        status, head, found = got
        self.used += 1
        if status == 503 and b"this server restarts" in found and self.proxy.excuses(self.asked):
            self.seen.outcomes["on a killed worker, asked again"] += 1
        elif status == 400 and self._had_no_route():
            self.seen.outcomes["after a flush, before the routes were back"] += 1
        elif (status, found) != (200, body):
            said = f"{len(found)} bytes of {len(body)}" if status == 200 else told(head, found)
            self.seen.lose(f"{what} of {self.host.decode()} at {self.proxy.folder.name}: {said}")
        else:
            self.seen.outcomes[what] += 1
        if b"\r\nconnection: close" in head.lower():
            self.drop()

    def _had_no_route(self) -> bool:
        now = time.monotonic()
        return any(start <= now and self.asked <= end for start, end in self.site.flushed)

    # The kinds.

    async def get(self) -> None:
        """On a connection that is kept."""
        wire = await self.connected()
        size = random.choice((0, 100, 3000, 60_000))
        wire.writer.write(request(b"GET", b"/plain/%d" % size, host=self.host))
        async with asyncio.timeout(PATIENCE):
            self.judge("get", await wire.answer(), body_of(size))

    async def upload(self) -> None:
        """A body in pieces, on a connection of its own: a POST is never sent again."""
        self.drop()
        wire = await self.connected()
        body = body_of(UPLOADED)
        length = b"Content-Length: %d" % len(body)
        wire.writer.write(request(b"POST", b"/plain/20", length, host=self.host))
        for start in range(0, len(body), 30_000):
            wire.writer.write(body[start : start + 30_000])
            await wire.writer.drain()
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE):
            self.judge("upload", await wire.answer(), body_of(20))
        self.drop()

    async def web_socket(self) -> None:
        """Messages that come back, until the proxy says that it goes away."""
        self.drop()
        wire = await self.connected()
        fields = (
            b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + KEY,
        )  # fmt: skip
        wire.writer.write(request(b"GET", b"/ws/0", *fields, host=self.host))
        async with asyncio.timeout(PATIENCE):
            head = await wire.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            if head.startswith(b"HTTP/1.1 400 ") and self._had_no_route():
                self.seen.outcomes["after a flush, before the routes were back"] += 1
            else:
                body = await wire.reader.read(4000)
                where = f"{self.host.decode()} at {self.proxy.folder.name}"
                self.seen.lose(f"a handshake of {where}: {told(head, body)}")
            return
        self.seen.outcomes["web socket"] += 1
        while not self.stopping:
            self.asked = time.monotonic()
            data = body_of(random.choice((10, 1000, 30_000)))
            wire.writer.write(frame(2, data))
            async with asyncio.timeout(PATIENCE):
                closed = await self._closed(wire, frame(2, data, mask=False))
            if closed:
                self.seen.outcomes["web socket that was closed in order"] += 1
                return
            self.seen.outcomes["message"] += 1
            await asyncio.sleep(random.uniform(0, 4 * PAUSE))
        wire.writer.write(frame(8, b"\x03\xe8"))
        with suppress(EOFError, OSError):
            await wire.reader.readexactly(4)

    async def _closed(self, wire: Wire, expected: bytes) -> bool:
        """Read the echo. True if a Close frame of the proxy came in its place."""
        first = await wire.reader.readexactly(2)
        if first[0] == 0x88:
            code = int.from_bytes(await wire.reader.readexactly(2), "big")
            if code not in GOING_AWAY:
                self.seen.lose(f"a web socket was closed with {code}")
            return True
        if first + await wire.reader.readexactly(len(expected) - 2) != expected:
            self.seen.lose("a message came back changed")
        return False

    async def hostile(self) -> None:
        """Requests whose fate is nobody's business but the tenant's."""
        self.drop()
        wire = await self.connected()
        what = random.choice((b"plain", b"cut", b"reset", b"garbage", b"late", b"early"))
        size = int(2 ** (random.random() * 16))
        self.seen.outcomes["hostile"] += 1
        wire.writer.write(request(b"GET", b"/%b/%d" % (what, size), host=self.host))
        with suppress(TimeoutError, Broken, OSError, EOFError):
            async with asyncio.timeout(random.choice((0.3, 3.0, 8.0))):
                await wire.answer()
        self.drop()


def told(head: bytes, body: bytes) -> str:
    """An answer that was not to come, in short."""
    page = re.search(rb"<body>.*</body>", body, re.DOTALL)
    text = re.sub(rb"<[^>]*>|\s+", b" ", page[0] if page else body)
    return f"{head[:40].decode()!r} {b' '.join(text.split())[:300].decode()}"


def visitors(site: Site, seen: Seen, hostile: Seen) -> list[tuple[Visitor, asyncio.Task[None]]]:
    """All of them, at both proxies."""
    made: list[tuple[Visitor, asyncio.Task[None]]] = []

    def visit(proxy: Proxy, host: str, once: Callable[[Visitor], Awaitable[None]]) -> None:
        visitor = Visitor(site, proxy, host, hostile if host == HOSTILE else seen)
        made.append((visitor, asyncio.create_task(visitor.run(once), name=once.__name__)))

    for proxy in site.proxies:
        for host in ("well.test", "also.test"):
            for once in (Visitor.get, Visitor.get, Visitor.upload, Visitor.web_socket):
                visit(proxy, host, once)
        for _ in range(4):
            visit(proxy, HOSTILE, Visitor.hostile)
    return made
