"""Backends that break RFC 9113: each request ends at once, and says that the backend did it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hpack import Encoder

from app.errors import UpstreamBadAnswer, UpstreamCut, UpstreamError
from app.upstream.client import UpstreamClient
from tests.upstream.asking import asked
from tests.upstream.conftest import client, server

__all__ = ["client", "server"]

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, UPDATE, MORE = range(10)
END, END_HEADERS, PADDED = 1, 4, 8


def frame(kind: int, flags: int = 0, stream: int = 1, payload: bytes = b"") -> bytes:
    size = struct.pack(">I", len(payload))[1:]
    return size + struct.pack(">BBI", kind, flags, stream) + payload


def headers(*fields: tuple[str, str], flags: int = END_HEADERS, stream: int = 1) -> bytes:
    return frame(HEADERS, flags, stream, Encoder().encode(list(fields)))


STATUS = (":status", "200")
OK = headers(STATUS)
HI = frame(DATA, END, 1, b"hi")
PREFACE = frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0)
PROMISE = struct.pack(">I", 2) + Encoder().encode([(":method", "GET"), (":path", "/")])
BAD = UpstreamBadAnswer, UpstreamCut


def length(*values: str) -> bytes:
    return headers(STATUS, *[("content-length", value) for value in values]) + HI


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


BROKEN = {
    "continuation-without-end": headers(STATUS, flags=0) + frame(MORE, 0, 1, b"\0\1a\1b") * 9000,
    "empty-continuation-without-end": headers(STATUS, flags=0) + frame(MORE) * 9000,
    "trailers-without-end": OK + frame(DATA, 0, 1, b"hi") + headers(("x", "y")),
    "bad-padding": OK + frame(DATA, PADDED, 1, b"\xffab"),
    "a-push": frame(PUSH, END_HEADERS, 1, PROMISE) + OK + HI,
    "length-too-long": length("10"),
    "length-too-short": length("1"),
    "two-lengths": length("2", "3"),
    "no-length": length("+2"),
    "an-update-of-nothing": frame(UPDATE, 0, 1, bytes(4)) + OK + HI,
    "a-window-too-large": frame(UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) + OK + HI,
    "data-before-the-head": HI,
    "no-status": headers(("x", "y")) + HI,
    "no-number": headers((":status", "2x0")) + HI,
    "status-1000": headers((":status", "1000")) + HI,
    "status-101": headers((":status", "101")) + HI,
    "upper-case": headers(STATUS, ("X-A", "b")) + HI,
    "a-field-of-the-connection": headers(STATUS, ("connection", "close")) + HI,
    "a-line-in-a-value": headers(STATUS, ("x", "a\r\nb: c")) + HI,
    "a-status-in-trailers": OK + frame(DATA, 0, 1, b"hi") + headers(STATUS, flags=5),
    "a-stream-never-opened": headers(STATUS, flags=5, stream=99),
    "a-stream-of-its-own": headers(STATUS, flags=5, stream=2),
    "a-frame-too-large": OK + frame(DATA, END, 1, bytes(20000)),
    "more-than-the-window": OK + frame(DATA, 0, 1, bytes(16384)) * 9,
    "pings-without-end": frame(PING, 0, 0, bytes(8)) * 9000 + OK + HI,
    "settings-without-end": frame(SETTINGS, 0, 0) * 9000 + OK + HI,
    "interim-without-end": headers((":status", "103")) * 900 + OK + HI,
    "a-window-that-is-none": setting(4, 2**31) + OK + HI,
    "fields-without-end": frame(
        HEADERS, 4, 1, Encoder().encode([STATUS, ("a", "b" * 3000)]) + b"\xbe" * 16000
    ),
    "no-hpack": frame(HEADERS, END_HEADERS, 1, b"\xff" * 6),
    "a-body-behind-204": headers((":status", "204")) + HI,
}
SOUND = {
    "data-behind-the-end": OK + HI + HI,
    "goaway-that-covers-it": frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + OK + HI,
    "no-window-for-us": setting(4, 0) + OK + HI,
    "no-streams-any-more": setting(3, 0) + OK + HI,
    "frames-of-another-kind": frame(0xBE, 0, 1, b"x" * 100) * 100 + OK + HI,
    "the-old-priorities": frame(PRIORITY, 0, 1, struct.pack(">IB", 3, 1)) + OK + HI,
    "a-reset-behind-the-end": OK + HI + frame(RST, 0, 1, bytes(4)),
}


class Raw(asyncio.Protocol):
    """Writes the next of `replies` for each HEADERS."""

    def __init__(self, replies: list[bytes]) -> None:
        self._replies = replies
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._skip = 24
        transport.write(PREFACE)

    def data_received(self, data: bytes) -> None:
        self._came += data
        self._came, self._skip = self._came[self._skip :], max(0, self._skip - len(self._came))
        while len(self._came) >= 9 and not self._skip:
            size, kind = int.from_bytes(self._came[:3], "big"), self._came[3]
            if len(self._came) < 9 + size:
                break
            self._came = self._came[9 + size :]
            if kind == HEADERS and self._replies:
                self.transport.write(self._replies.pop(0))


@asynccontextmanager
async def raw(*replies: bytes) -> AsyncIterator[str]:
    """A backend's URL."""
    links: list[Raw] = []

    def link() -> Raw:
        links.append(Raw(list(replies)))
        return links[-1]

    server = await asyncio.get_running_loop().create_server(link, "127.0.0.1", 0)
    try:
        yield f"h2c://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in links:
            each.transport.abort()
        await server.wait_closed()


@pytest.mark.parametrize("case", BROKEN)
async def test_what_is_broken_is_not_passed_on(client: UpstreamClient, case: str) -> None:
    async with raw(BROKEN[case]) as url:
        with pytest.raises(UpstreamError) as caught:
            await asked(client, url)
    assert isinstance(caught.value, BAD), repr(caught.value)


@pytest.mark.parametrize("case", SOUND)
async def test_what_is_only_odd_is_an_answer(client: UpstreamClient, case: str) -> None:
    async with raw(SOUND[case]) as url:
        got = await asked(client, url)
    assert (got.status, got.body) == (200, b"hi")


async def test_a_connection_that_breaks_later_is_not_taken_for_an_old_one(
    client: UpstreamClient,
) -> None:
    async with raw(OK + HI, frame(UPDATE, 0, 3, bytes(4)) + frame(PING, 0, 5, bytes(8))) as url:
        assert (await asked(client, url)).body == b"hi"
        with pytest.raises(UpstreamBadAnswer, match="broke HTTP/2"):
            await asked(client, url)
