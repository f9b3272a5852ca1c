"""gRPC-Web, text and binary, through the proxy: its bodies pass as they are, both ways."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.hypercorn_server import hypercorn
from tests.redis_servers import RedisServer
from tests.server.http2.frames import POST, Http2Client, data, head, speaking
from tests.serving import Proxy, proxying

KINDS = [b"application/grpc-web+proto", b"application/grpc-web-text"]
MESSAGE = bytes(range(256)) + b"\r\n0\r\n\r\n"  # not UTF-8, and like an end of chunks


def framed(flags: int, payload: bytes) -> bytes:
    return bytes([flags]) + len(payload).to_bytes(4, "big") + payload


CALL = framed(0, MESSAGE)
END = framed(0x80, b"grpc-status: 5\r\ngrpc-message: as you like\r\n")


def coded(kind: bytes, part: bytes) -> bytes:
    """As text each part has padding of its own, so `=` stands in the middle of a body."""
    return b64encode(part) if b"text" in kind else part


class EchoService:
    """An ASGI application: says each message back, and once it is let go on, the trailers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.versions: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.versions.append(scope["http_version"])
        kind = dict(scope["headers"])[b"content-type"]
        said = b64decode(body) if b"text" in kind else body
        headers = [(b"content-type", kind), (b"x-grpc-web", dict(scope["headers"])[b"x-grpc-web"])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part, more in ((said, True), (END, False)):
            part = {"body": coded(kind, part), "more_body": more}
            await send({"type": "http.response.body", **part})
            await self.go_on.wait()


@pytest.fixture
async def proxy(valkey: RedisServer, either_way: None) -> AsyncIterator[Proxy]:
    async with proxying(valkey, http2=True) as proxy:
        yield proxy


def holds(client: Http2Client, number: int, part: bytes) -> bool:
    return client.of(number).body == part


@pytest.mark.parametrize("scheme", ["http", "h2c"])
async def test_bodies_pass_byte_for_byte_and_at_once(proxy: Proxy, scheme: str) -> None:
    served = EchoService()
    async with hypercorn(served) as port, speaking(proxy.port) as client:
        await proxy.route("a.test", f"{scheme}://127.0.0.1:{port}")
        for number, kind in zip((1, 3), KINDS, strict=True):
            call, end = coded(kind, CALL), coded(kind, END)
            # A client of HTTP/2.
            served.go_on.clear()
            fields = [*POST, (b"content-type", kind), (b"x-grpc-web", b"1")]
            client.send(client.headers(number, fields), data(number, call, end=True))
            await client.until(partial(holds, client, number, call))
            served.go_on.set()
            got = await client.answer(number)
            assert (got.status, got.body, got.trailers) == (200, call + end, [])
            assert (got.get(b"content-type"), got.get(b"x-grpc-web")) == (kind, b"1")
            # A client of HTTP/1.1.
            served.go_on.clear()
            old = await proxy.connect()
            old.send(
                b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Type: %b\r\nX-Grpc-Web: 1\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (kind, len(call), call)
            )
            answer = await old.until(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\ncontent-type: %b\r\n" % kind in answer.lower()
            assert await chunk(old) == call
            served.go_on.set()
            assert (await chunk(old), await chunk(old)) == (end, b"")
        assert served.bodies == [coded(kind, CALL) for kind in KINDS for _ in range(2)]
        assert set(served.versions) == {"2" if scheme == "h2c" else "1.1"}


async def chunk(client: Any) -> bytes:
    """One chunk of an HTTP/1.1 answer; the last one is empty."""
    size = int(await client.until(b"\r\n"), 16)
    return (await client.reader.readexactly(size + 2))[:-2]


async def test_the_proxys_own_answers_have_their_status_in_the_head(proxy: Proxy) -> None:
    """Those over HTTP/1.1 are in test_failures.py."""
    async with speaking(proxy.port) as client:
        for number, kind in zip((1, 3), KINDS, strict=True):
            fields = [*head(b"POST", host=b"none.test"), (b"content-type", kind)]
            client.send(client.headers(number, fields), data(number, coded(kind, CALL), end=True))
            got = await client.answer(number)
            assert (got.status, got.body, got.trailers) == (200, b"", [])
            assert (got.get(b"content-type"), got.get(b"grpc-status")) == (kind, b"12")
