"""The WebSocket load: CONNECTIONS clients with IN_FLIGHT messages each, and every echo compared.

Run as `python -m bench.compare.ws_load PORT HOST BYTES CONNECTIONS IN_FLIGHT SECONDS`; prints the
same line of JSON as load.lua. It handles bytes, not messages (all frames are alike), so that the
generator is not what limits the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

from bench.compare.results import percentile
from bench.echo import accept_key

KEY = base64.b64encode(b"sixteen bytes it")  # must be (RFC 6455 §4.1)
CLOSE_1000 = b"\x88\x82\0\0\0\0\x03\xe8"
PATIENCE_SECONDS = 10.0
"""How long the handshakes and the last echoes may take."""


def frame(size: int, *, masked: bool) -> bytes:
    """One binary message of `size` bytes. The mask is zero: legal, and cheap at the backend."""
    mark = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x82, mark | size))
    elif size < 1 << 16:
        head = bytes((0x82, mark | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x82, mark | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + b"x" * size


@dataclass
class Load:
    """What the clients share."""

    host: bytes
    size: int
    in_flight: int
    ready: int = 0
    open: int = 0
    finished: int = 0
    stopping: bool = False
    round_trips: int = 0
    refusal: bytes = b""
    """What a proxy that did not answer 101 said last."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the write of a message to the last byte of its echo."""

    def __post_init__(self) -> None:
        self.question = frame(self.size, masked=True)
        self.answer = frame(self.size, masked=False)
        # Long enough to compare one read at any offset with one slice.
        self.answers = self.answer * (2 + (1 << 19) // len(self.answer))


class Client(asyncio.Protocol):
    """One connection: counts bytes, compares them, writes as many messages as came back."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.accepted = False
        self._head = b""
        self._at = 0  # bytes of the current echo that are here
        self._sent: deque[float] = deque()  # when each message in flight was written
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.load.open += 1
        self.transport.write(
            b"GET /echo HTTP/1.1\r\nHost: " + self.load.host + b"\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: " + KEY + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        if not self.accepted:
            self._read_handshake(data)
        elif not self._finished:
            self._read_echoes(data)

    def _read_handshake(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        self.accepted = self._head.startswith(b"HTTP/1.1 101") and accept_key(KEY) in self._head
        if self.accepted:
            self.load.ready += 1
        else:
            self.load.refusal = self._head
            self.transport.abort()

    def begin(self) -> None:
        self._write(self.load.in_flight)

    def _write(self, messages: int) -> None:
        now = time.perf_counter()
        self._sent.extend([now] * messages)
        self.transport.write(self.load.question * messages)

    def _read_echoes(self, data: bytes) -> None:
        load = self.load
        if data != load.answers[self._at : self._at + len(data)]:
            self.transport.abort()
            return
        done, self._at = divmod(self._at + len(data), len(load.answer))
        if not done:
            return
        now = time.perf_counter()
        load.latencies += [now - self._sent.popleft() for _ in range(done)]
        load.round_trips += done
        if not load.stopping:
            self._write(done)
        elif not self._sent:
            self._finished = True
            load.finished += 1
            self.transport.write(CLOSE_1000)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.open -= 1


async def run(port: int, load: Load, connections: int, seconds: float) -> dict[str, float]:
    """Handshakes first, then `seconds` of load, then the last echoes and the closes."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
        clients.append(client)
    await _until(lambda: load.ready == load.open)
    started = time.perf_counter()
    for client in clients:
        if client.accepted:
            client.begin()
    await asyncio.sleep(seconds)
    load.stopping = True
    elapsed = time.perf_counter() - started
    await _until(lambda: load.open == 0)
    return {
        "requests": load.round_trips,
        "seconds": elapsed,
        "p50_us": 1e6 * percentile(load.latencies, 50),
        "p99_us": 1e6 * percentile(load.latencies, 99),
        "errors": connections - load.finished,
    }


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(0.01)


def main() -> None:
    port, host, size, connections, in_flight, seconds = sys.argv[1:]
    load = Load(host.encode(), int(size), int(in_flight))
    print(json.dumps(uvloop.run(run(int(port), load, int(connections), float(seconds)))))
    if load.refusal:
        print(f"refused: {load.refusal.decode(errors='replace')}", file=sys.stderr)


if __name__ == "__main__":
    main()
