"""A WebSocket's bytes through the tunnel, both ways at once.

The first byte says who speaks how, the rest is frames, or not. What one end sends, the
other gets, byte for byte up to the sender's end, and at most a close frame of ours behind it;
the boundaries that the tunnel saw are those that a walk over the whole finds.
"""

from __future__ import annotations

import asyncio
import re
import struct
from functools import cache
from typing import Any

from app.websocket.frames import FrameTracker
from bench.echo import accept_key
from tests.fuzz.world import Client, Finding, World, split

KEY = b"MDEyMzQ1Njc4OWFiY2RlZg=="
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
ASKED = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)", re.IGNORECASE)


def frame(first: int, data: bytes = b"", mask: bytes = b"") -> bytes:
    size, bit = len(data), 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = bytes((first, bit | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first, bit | 127)) + struct.pack(">Q", size)
    payload = bytes(octet ^ mask[i % 4] for i, octet in enumerate(data)) if mask else data
    return head + mask + payload


LONGEST_CLOSE = 2 + 4 + 125
MASK = b"\x01\x02\x03\x04"
FRAMES = [
    frame(0x81, b"hello", MASK), frame(0x82, bytes(200), MASK),
    frame(0x82, bytes(70000), MASK)[:9000],
    frame(0x01, b"he", MASK) + frame(0x80, b"llo", MASK), frame(0x89, b"ping", MASK),
    frame(0x8A, b"", MASK), frame(0x88, b"\x03\xe8bye", MASK), frame(0x88, b"", MASK),
    frame(0x88, b"\x03", MASK), frame(0x88, b"\x03\xed", MASK), frame(0x81, b"\xff\xfe", MASK),
    frame(0x81, b"no mask"), frame(0x89, bytes(126), MASK), frame(0x09, b"", MASK),
    frame(0x83, b"reserved", MASK), frame(0xC1, b"rsv1", MASK), frame(0x80, b"alone", MASK),
    b"\x81\xff" + b"\xff" * 8, b"\x81\xfe\x00\x05", b"\x81", b"GET / HTTP/1.1\r\n\r\n",
]  # fmt: skip
SEEDS = [bytes([n * 7 % 256]) + each for n, each in enumerate(FRAMES)]
SEEDS += [bytes([n]) + FRAMES[0] + each + FRAMES[4] for n, each in enumerate(FRAMES)]
SEEDS += [b"\xff" + FRAMES[0] * 3 + FRAMES[6]]
TOKENS = [each[:300] for each in FRAMES] + [bytes((128 + op, 128)) + MASK for op in range(16)]


class Backend(Client):
    """Switches, sends its share, and keeps what it gets."""

    def __init__(self, side: _Side) -> None:
        super().__init__()
        self.side = side
        self.switched = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.switched and b"\r\n\r\n" in self.got:
            self.switched = True
            head, _, self.got = self.got.partition(b"\r\n\r\n")
            key = ASKED.search(head)
            assert key is not None
            switch = SWITCH % accept_key(key[1])
            self.side.backend = self
            if self.side.early:
                self.transport.write(switch + b"".join(self.side.answer))
                return
            self.transport.write(switch)
            for turn, piece in enumerate(self.side.answer, 1):
                self.side.world.loop.call_later(turn * 0.001, self.transport.write, piece)


class _Side:
    """One mode's world, and what its backend is to do."""

    def __init__(self, **keys: Any) -> None:
        self.answer: list[bytes] = []
        self.early = False
        self.backend: Backend | None = None
        self.world = World(
            lambda: Backend(self), webSocketIdleTimeout=20, webSocketCloseTimeout=5, **keys
        )

    async def session(self, pieces: list[bytes], how: int) -> tuple[Client, Backend | None]:
        """`how`: who ends it, and with what."""
        self.backend = None
        client = self.world.connect()
        client.transport.write(REQUEST + (pieces.pop(0) if how & 4 and pieces else b""))
        await self.world.loop.settle()
        for piece in pieces:
            client.transport.write(piece)
            await self.world.loop.settle()
        await asyncio.sleep(0.1)
        if how & 3 == 1:
            client.transport.write_eof()
        elif how & 3 == 2 and self.backend is not None:
            self.backend.transport.write_eof()
        elif how & 3 == 3:
            client.transport.close()
        await client.ended
        client.transport.close()
        await asyncio.sleep(3)
        await self.world.loop.settle()
        return client, self.backend


@cache
def side() -> _Side:
    return _Side()


def check(data: bytes) -> None:
    if not data:
        return
    how, data = data[0], data[1:]
    boundaries(data, how)
    here = side()
    here.answer, here.early = split(data, how >> 3), bool(how & 8)
    client, backend = here.world.run(here.session(split(data, how >> 2), how))
    if not client.got.startswith(b"HTTP/1.1 101 "):
        raise Finding(f"the handshake was answered {client.got!r}")
    got = client.got.partition(b"\r\n\r\n")[2]
    if backend is None:
        raise Finding("nobody was asked")
    for name, arrived in (("client", got), ("backend", backend.got)):
        if not faithful(arrived, data):
            raise Finding(f"sent {data!r}, the {name} got {arrived!r}")


def faithful(arrived: bytes, sent: bytes) -> bool:
    """What was sent or a beginning of it, with at most a close frame of ours behind it."""
    size = next((n for n, (a, b) in enumerate(zip(arrived, sent, strict=False)) if a != b),
                min(len(arrived), len(sent)))  # fmt: skip
    # Ours may begin with bytes that are also the next ones of the sender.
    return any(_is_close(arrived[at:]) for at in range(max(0, size - 8), size + 1))


def _is_close(data: bytes) -> bool:
    return not data or (data[0] == 0x88 and len(data) in (4, 8) and data[1] & 0x7F == 2)


def boundaries(data: bytes, seed: int) -> None:
    """The tracker says the same however the bytes come, and as a plain walk over them."""
    whole = FrameTracker()
    whole.feed(data)
    pieces = FrameTracker()
    for piece in split(data, seed):
        pieces.feed(piece)
    messages, close, at_boundary = walk(data)
    for tracker in (whole, pieces):
        seen = tracker.messages, tracker.close_code, tracker.at_boundary, tracker.size
        if seen != (messages, close, at_boundary, len(data)):
            raise Finding(f"{data!r}: {seen}, not {(messages, close, at_boundary, len(data))}")


def walk(data: bytes) -> tuple[int, int | None, bool]:
    """Messages, close code, and whether it ends at a boundary: RFC 6455 §5.2, written plainly."""
    at, messages, close = 0, 0, None
    while at < len(data):
        begin, head = at, data[at : at + 14]
        if len(head) < 2:
            return messages, close, False
        wide = {126: 2, 127: 8}.get(head[1] & 0x7F, 0)
        masked = 4 if head[1] & 0x80 else 0
        if len(head) < 2 + wide:
            return messages, close, False
        length = int.from_bytes(head[2 : 2 + wide], "big") if wide else head[1] & 0x7F
        body = at + 2 + wide + masked
        at = body + length
        if head[0] & 0x0F == 8 and close is None:
            if at > len(data) and at - begin <= LONGEST_CLOSE:
                return messages, close, False
            mask = data[body - 4 : body] if masked else bytes(4)
            code = bytes(a ^ b for a, b in zip(data[body : body + 2], mask, strict=False))
            said = len(code) == 2 <= length <= 125 and not wide
            close = int.from_bytes(code, "big") if said else 1005
        elif head[0] & 0x88 == 0x80:
            messages += 1
    return messages, close, at == len(data)
