"""Clients of every kind: `python -m bench.soak.load PORT --requests N`; the result is JSON.

A request is `sure` to be in the access log, or `maybe`: its client left before it could
know whether its head had been read.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

from bench.soak.backend import body_of
from bench.soak.http2_load import session

PATIENCE = 60.0
"""Seconds for one request; a request that takes longer hangs."""
_RESET = struct.pack("ii", 1, 0)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
KEY = base64.b64encode(b"0123456789abcdef")


class Broken(Exception):
    """The answer came to no end."""


@dataclass
class Tally:
    """What became of the requests so far."""

    left: int
    sure: int = 0
    maybe: int = 0
    refused: int = 0
    """No requests at all: these have a line in the log, and are not counted as requests."""
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, text: str) -> None:
        self.outcomes["FAILED"] += 1
        if len(self.failures) < 20:
            self.failures.append(text)


class Wire:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def answer(self, *, to_head: bool = False) -> tuple[int, bytes, bytes]:
        """Status, head and body. Raises Broken where they do not come whole."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(_STATUS.match(head)[1])  # type: ignore[index]
            if to_head or status in (204, 304):
                return status, head, b""
            if length := _LENGTH.search(head):
                return status, head, await self.reader.readexactly(int(length[1]))
            if b"\r\ntransfer-encoding: chunked" not in head.lower():
                return status, head, await self.reader.read()
            return status, head, await self._chunks()
        except (EOFError, OSError, TypeError) as exc:
            raise Broken(repr(exc)[:200]) from None

    async def _chunks(self) -> bytes:
        body = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return b"".join(body)

    def reset(self) -> None:
        if not self.writer.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    def leave(self) -> None:
        """In one of the two ways."""
        if random.random() < 0.5:
            self.reset()
        else:
            self.writer.close()


class Client:
    """Asks until there is nothing left to ask; one request after the other, of any kind."""

    def __init__(self, port: int, tally: Tally) -> None:
        self.port = port
        self.tally = tally
        self.wire: Wire | None = None

    async def run(self) -> None:
        kinds, weights = zip(*KINDS, strict=True)
        while self.tally.left > 0:
            kind: Kind = random.choices(kinds, weights)[0]
            try:
                async with asyncio.timeout(PATIENCE):
                    await kind(self)
            except TimeoutError:
                self.tally.fail(f"{kind.__name__}: no end within {PATIENCE:.0f} s")
                self.drop()
            except (Broken, OSError, EOFError) as exc:
                self.tally.fail(f"{kind.__name__}: {exc!r}")
                self.drop()
        self.drop()

    def drop(self) -> None:
        if self.wire is not None:
            self.wire.reset()
            self.wire = None

    def count(self, name: str, requests: int = 1, *, sure: bool = True) -> None:
        self.tally.left -= requests
        self.tally.outcomes[name] += requests
        if sure:
            self.tally.sure += requests
        else:
            self.tally.maybe += requests

    async def kept(self) -> Wire:
        """The connection that is kept from request to request."""
        if self.wire is None:
            self.wire = await Wire.open(self.port)
        return self.wire

    # The kinds.

    async def burst(self) -> None:
        """Small ones, sometimes several ahead."""
        wire = await self.kept()
        size, ahead = random.choice((0, 12, 300, 2000)), random.choice((1, 1, 2, 6))
        method = random.choice((b"GET", b"GET", b"HEAD"))
        for _ in range(random.choice((5, 15))):
            wire.writer.write(request(method, b"/plain/%d" % size) * ahead)
            for _ in range(ahead):
                got = await wire.answer(to_head=method == b"HEAD")
                self._check(got, b"" if method == b"HEAD" else body_of(size))
            self.count("small", ahead)

    async def sized(self) -> None:
        """An answer of any size and framing."""
        wire = await self.kept()
        size = int(2 ** (random.random() * 18))
        what = random.choice((b"plain", b"chunked", b"close", b"late"))
        wire.writer.write(request(b"GET", b"/%b/%d" % (what, size)))
        self._check(await wire.answer(), body_of(size))
        self.count("sized")

    async def upload(self) -> None:
        """A body of any size, with a length or in chunks, in one piece or several."""
        wire = await self.kept()
        size = int(2 ** (random.random() * 18))
        for piece in pieces(upload(b"/plain/20", size)):
            wire.writer.write(piece)
            await wire.writer.drain()
        self._check(await wire.answer(), body_of(20))
        self.count("upload")

    async def leaver(self) -> None:
        """A client that goes at any moment before it has its answer."""
        wire = await Wire.open(self.port)
        size = int(2 ** (random.random() * 17))
        what = random.choice((b"plain", b"chunked", b"late", b"early"))
        data = request(b"GET", b"/%b/%d" % (what, size))
        if random.random() < 0.4:
            data = upload(b"/%b/%d" % (what, size), size)
        sent = len(data) if random.random() < 0.5 else random.randrange(len(data))
        wire.writer.write(data[:sent])
        got = b""
        if sent == len(data) and random.random() < 0.7:
            with suppress(OSError):
                got = await wire.reader.read(random.randrange(1, 2000))
        elif random.random() < 0.5:
            await asyncio.sleep(random.random() * 0.01)
        wire.leave()
        if sent > data.index(b"\r\n\r\n") + 3:
            self.count("left", sure=bool(got))
        else:
            self.tally.outcomes["left inside the head"] += 1

    async def failing(self) -> None:
        """A backend that fails at any moment; what looks whole has to be."""
        wire = await self.kept()
        size = int(2 ** (random.random() * 16))
        what = random.choice((b"cut", b"cut", b"reset", b"garbage", b"plain"))
        wire.writer.write(request(b"GET", b"/%b/%d" % (what, size), host=b"bad.test"))
        try:
            status, head, body = await wire.answer()
        except Broken:
            self.count("backend cut")
            self.drop()
            return
        self.count(f"backend failed: {status}")
        if status == 200 and body not in (body_of(size), b"ab"):
            self.tally.fail(f"{what!r} of {size} bytes came as {len(body)} and looked whole")
        if b"connection: close" in head.lower():
            self.drop()

    async def refused(self) -> None:
        """Bytes that are no request, or a request for an unknown host."""
        wire = await Wire.open(self.port)
        data, statuses = random.choice(NO_REQUESTS)
        wire.writer.write(data)
        status, _, _ = await wire.answer()
        if status not in statuses:
            self.tally.fail(f"{data!r} was answered {status}")
        if b"unknown.test" not in data:
            self.tally.refused += 1
        self.count(f"refused: {status}")
        wire.leave()

    async def web_socket(self) -> None:
        """A session of some messages that ends in order or does not."""
        wire = await Wire.open(self.port)
        wire.writer.write(
            request(b"GET", b"/ws/0", b"Upgrade: websocket", b"Connection: Upgrade",
                    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY)
        )  # fmt: skip
        head = await wire.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self.tally.fail(f"a handshake was answered {head[:60]!r}")
        self.count("web socket")
        for _ in range(random.randrange(4)):
            data = body_of(int(2 ** (random.random() * 14)))
            wire.writer.write(frame(2, data))
            expected = frame(2, data, mask=False)
            if await wire.reader.readexactly(len(expected)) != expected:
                self.tally.fail("a message came back changed")
        if random.random() < 0.5:
            wire.writer.write(frame(8, b"\x03\xe8"))
            await wire.reader.readexactly(4)
        elif random.random() < 0.5:
            wire.writer.write(frame(2, body_of(5000))[: random.randrange(5000)])
        wire.leave()

    async def streams(self) -> None:
        """Some requests at once on a connection of HTTP/2; some are reset."""
        for stream in await session(self.port):
            if stream.leaves:
                self.count("reset", sure=False)
                continue
            self.count("stream")
            if stream.status == 503:
                self.tally.outcomes["shed"] += 1
            elif fault := stream.fault:
                self.tally.fail(fault)

    def _check(self, got: tuple[int, bytes, bytes], body: bytes) -> None:
        status, head, found = got
        if status == 503 and b"\r\nretry-after:" in head.lower():
            self.tally.outcomes["shed"] += 1
        elif status != 200:
            self.tally.fail(f"answered {head[:80]!r}")
        elif found != body:
            self.tally.fail(f"{len(found)} bytes of {len(body)}, or others")
        if b"\r\nconnection: close" in head.lower():
            self.drop()


Kind = Callable[[Client], Awaitable[None]]

KINDS: list[tuple[Kind, float]] = [
    (Client.burst, 10),  # of 27 requests on average
    (Client.sized, 15),
    (Client.upload, 10),
    (Client.leaver, 15),
    (Client.failing, 15),
    (Client.refused, 5),
    (Client.web_socket, 5),
    (Client.streams, 10),
]


def request(method: bytes, target: bytes, *fields: bytes, host: bytes = b"good.test") -> bytes:
    lines = [b"%b %b?soak HTTP/1.1" % (method, target), b"Host: " + host, *fields, b"", b""]
    return b"\r\n".join(lines)


def upload(target: bytes, size: int) -> bytes:
    """A POST with a length, or in chunks."""
    body = body_of(size)
    if random.random() < 0.5:
        return request(b"POST", target, b"Content-Length: %d" % size) + body
    middle = random.randrange(size)
    parts = [part for part in (body[:middle], body[middle:]) if part]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return request(b"POST", target, b"Transfer-Encoding: chunked") + wire + b"0\r\n\r\n"


def pieces(data: bytes) -> list[bytes]:
    at = sorted(random.randrange(len(data)) for _ in range(random.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if a < b]


def frame(opcode: int, data: bytes, *, mask: bool = True) -> bytes:
    """A whole WebSocket frame; the mask, if any, is of zeros (RFC 6455 §5.2)."""
    size, bit = len(data), 0x80 if mask else 0
    length = bytes((bit | size,)) if size < 126 else bytes((bit | 126,)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + (bytes(4) if mask else b"") + data


NO_REQUESTS: list[tuple[bytes, tuple[int, ...]]] = [
    (b"GET / HTTP/1.1\r\n\r\n", (400,)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,)),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", (505,)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
    (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", (414,)),
    (b"GET / HTTP/1.1\r\nHost: unknown.test\r\nConnection: close\r\n\r\n", (400,)),
]


async def main(port: int, requests: int, clients: int) -> Tally:
    tally = Tally(requests)
    await asyncio.gather(*(Client(port, tally).run() for _ in range(clients)))
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    done = uvloop.run(main(args.port, args.requests, args.clients))
    print(
        json.dumps(
            {
                "sure": done.sure,
                "maybe": done.maybe,
                "refused": done.refused,
                "outcomes": done.outcomes,
                "failures": done.failures,
            }
        )
    )
